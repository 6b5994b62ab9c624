"""`bench metg`: how short tasks may be."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench import BenchError
from bench.commands.report import is_terminal, wrapped
from bench.granularity.metg import (
    LENGTHS_S,
    LEVELS,
    MIN_BLOCKS,
    Crossing,
    Metg,
    check_kernel,
    measure,
    summarise,
)
from bench.machine.counters import Counters
from bench.machine.facts import describe_machine, describe_versions
from bench.machine.noise import judge_machine
from executors import usable_cpus
from executors.backends import SEQUENTIAL, backend_class, backend_names
from executors.backends.base import checked_workers
from reports.granularity import draw_efficiency, duration_of


def metg(
    kernel: str,
    backends: str | None,
    max_workers: int | None,
    blocks: int,
    seed: int,
    form: str,
    output: Path | None,
    quiet: bool,
) -> None:
    """Measures and prints; writes samples and the figure, if a folder is given."""
    workers = checked_workers(max_workers or usable_cpus())
    if workers < 2:
        raise BenchError("METG needs at least 2 workers: with one, nothing runs in parallel")
    check_kernel(kernel)
    if output is not None:
        _check_folder(output)
    names = _names(backends)
    header: dict[str, Any] = {"machine": describe_machine(), "versions": describe_versions()}
    with click.progressbar(
        length=blocks * len(LENGTHS_S),
        label=f"{len(LENGTHS_S)} lengths, {blocks} times",
        file=sys.stderr,
        hidden=quiet or not is_terminal(sys.stderr),
        width=20,
    ) as bar:
        before = Counters()
        points, ceiling = measure(kernel, names, workers, blocks, seed, lambda: bar.update(1))
    window = Counters().since(before, "", workers, 0)
    verdict = judge_machine(header["machine"], [window])
    found = summarise(points, kernel, workers, ceiling)
    content = json.dumps(
        {
            **header,
            "noise": {"level": verdict.level, "reasons": [each.text for each in verdict.reasons]},
            "kernel": kernel,
            "workers": workers,
            "ceiling": ceiling,
            "metg_s": {
                name: {str(level): _values(crossing) for level, crossing in levels.items()}
                for name, levels in found.metg.items()
            },
            "break_even_s": {name: _values(each) for name, each in found.break_even.items()},
            "points": [asdict(point) for point in points],
        },
        indent=1,
    )
    if form == "json":
        click.echo(content)
    else:
        _show(found)
        click.echo()
        wrapped(str(verdict))
    if output is not None:  # last: what was found is not lost when the disk is full
        (output / "metg.json").write_text(content + "\n", encoding="utf-8")
        draw_efficiency(found, output / "metg")
        if form == "text":
            click.echo(f"\nFigure: {output / 'metg.svg'}")


def _check_folder(output: Path) -> None:
    """Refuses a folder that cannot be written now rather than after the measurement."""
    if (output / "metg.json").exists():
        raise BenchError(f"{output / 'metg.json'} exists already; name another folder with -o")
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK | os.X_OK):
        raise BenchError(f"cannot write to {output}; name another folder with -o")


def _names(backends: str | None) -> list[str]:
    if backends is None:
        available = (name for name in backend_names() if not backend_class(name).unavailable())
        return [name for name in available if name != BASELINE]
    names = [name.strip() for name in backends.split(",") if name.strip() not in ("", BASELINE)]
    if not names:
        raise BenchError("--backends names no backend but sequential; METG is of the others")
    return names


def _values(crossing: Crossing) -> list[float | None]:
    """JSON has no infinity: None is "not reached"."""
    found = (crossing.length_s, crossing.low_s, crossing.high_s)
    return [None if each is None or math.isinf(each) else each for each in found]


def _show(found: Metg) -> None:
    click.echo(f"{found.kernel}, {found.workers} workers, {found.blocks} blocks")
    click.echo(f"ceiling: {found.workers} processes are {found.ceiling:.2f} times one\n")
    if found.ceiling < 1:
        wrapped(
            "Together they are slower than one alone: something else uses the CPUs, and what"
            " follows says little.\n"
        )
    if found.blocks < MIN_BLOCKS:
        wrapped(f"Fewer than {MIN_BLOCKS} blocks: no intervals.\n")
    click.echo("backend     part   shortest tasks   95 % interval")
    for name, levels in found.metg.items():
        for level in LEVELS:
            crossing = levels[level]
            click.echo(
                f"{name:<10} {100 * level:>4.0f} % {duration_of(crossing.length_s):>16}"
                f"   {_interval(crossing)}".rstrip()
            )
    click.echo()
    for name, crossing in found.break_even.items():
        wrapped(_plainly(name, crossing, found))


def _interval(crossing: Crossing) -> str:
    if crossing.low_s is None or crossing.high_s is None:
        return ""
    return f"{duration_of(crossing.low_s)} to {duration_of(crossing.high_s)}"


def _plainly(name: str, crossing: Crossing, found: Metg) -> str:
    task = f"{found.kernel} tasks"
    if math.isinf(crossing.length_s):
        return f"{name}: {task} of up to 5 ms are not worth running in parallel here."
    if not crossing.length_s:
        return f"{name}: even {task} of 5 us are worth running in parallel here."
    return (
        f"{name}: {task} shorter than {duration_of(crossing.length_s)} are not worth running in"
        " parallel here."
    )
