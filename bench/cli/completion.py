"""What a shell completes after `--shapes`, `--kernel` and `--backends`: names in a list."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


def _completed(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Completes the last item of a comma-separated list."""
    before, comma, last = incomplete.rpartition(",")
    return [CompletionItem(before + comma + name) for name in names if name.startswith(last)]


def shapes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of shapes."""
    from bench.workloads.shapes import SHAPES

    return _completed(SHAPES, incomplete)


def kernels(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of kernels."""
    from bench.workloads.kernels import KERNELS

    return _completed(KERNELS, incomplete)


def backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of backends."""
    from executors.backends import SIMULATED, backend_names

    return _completed([*backend_names(), SIMULATED], incomplete)
