"""What a shell completes after options whose value is a list: names, and their parameters."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


def _completed(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Completes the last item of a comma-separated list; what is in the list is not offered."""
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [
        CompletionItem(before + comma + name)
        for name in names
        if name.startswith(last) and name not in taken
    ]


def shapes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of shapes; after a colon, parameters that the shape has not got yet."""
    from bench.workloads.shapes import SHAPES

    spec, colon, _ = incomplete.rpartition(",")[2].rpartition(":")
    name, *settings = spec.split(":")
    if not colon or name not in SHAPES:
        return _completed(SHAPES, incomplete)
    taken = {setting.partition("=")[0] for setting in settings}
    return _completed(
        (f"{spec}:{key}=" for key in SHAPES[name].defaults if key not in taken), incomplete
    )


def kernels(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of kernels; after a colon, some lengths."""
    from bench.workloads.kernels import KERNELS

    name, colon, _ = incomplete.rpartition(",")[2].partition(":")
    lengths = ("1ms", "5ms", "20ms", "100ms", "1s") if colon and name != "noop" else ()
    return _completed([*KERNELS, *(f"{name}:{length}" for length in lengths)], incomplete)


def busy_kernels(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of kernels that keep a CPU busy."""
    from bench.workloads.kernels import KERNELS

    busy = [name for name, kernel in KERNELS.items() if not kernel.waits and name != "noop"]
    return _completed(busy, incomplete)


def exporters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of exporters."""
    from bench.results.exporters import EXPORTERS

    return _completed(EXPORTERS, incomplete)


def backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of backends."""
    from executors.backends import SIMULATED, backend_names
    from executors.engines import FUTURES

    return _completed([*backend_names(), FUTURES, SIMULATED], incomplete)


def reasons(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Reasons why a comparison fails."""
    from bench.commands.compare import FAILURES, NEVER

    return _completed(FAILURES if "," in incomplete else [*FAILURES, NEVER], incomplete)
