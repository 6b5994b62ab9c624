"""`bench metg`: how short tasks may be."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from bench import BenchError
from bench.analysis.estimates import MIN_SAMPLES
from bench.commands.terminal import progress, wrapped
from bench.granularity.crossings import LENGTHS_S, LEVELS, Crossing, Metg, Point, summarise
from bench.granularity.sweep import check_kernel, measure
from bench.machine.counters import SystemCounters
from bench.machine.facts import describe_machine, describe_versions
from bench.machine.noise import Verdict, judge_machine
from bench.results.case import BASELINE
from executors import usable_cpus
from executors.backends import backend_class, backend_names
from executors.backends.base import checked_workers
from reports.granularity import draw_efficiency, length_of


@dataclass(frozen=True, slots=True)
class MetgRequest:
    """What to measure and how to show it; each field is the option of that name."""

    kernel: str
    backends: str | None
    max_workers: int | None
    blocks: int
    seed: int
    form: str
    output: Path | None
    quiet: bool


def metg(request: MetgRequest) -> None:
    """Measures and prints; writes samples and the figure if a folder is given."""
    workers = checked_workers(request.max_workers or usable_cpus())
    if workers < 2:
        raise BenchError("METG needs at least 2 workers: with one, nothing runs in parallel")
    check_kernel(request.kernel)
    if request.output is not None:
        _check_folder(request.output)
    names = _names(request.backends)
    header = {"machine": describe_machine(), "versions": describe_versions()}
    label = f"{len(LENGTHS_S)} lengths, {request.blocks} times"
    with progress(request.blocks * len(LENGTHS_S), label, request.quiet) as bar:
        before = SystemCounters()
        points, ceiling = measure(
            request.kernel, names, workers, request.blocks, request.seed, lambda: bar.update(1)
        )
    meanwhile = SystemCounters().since(before, "", workers, 0)
    verdict = judge_machine(header["machine"], [meanwhile])
    outcome = summarise(points, request.kernel, workers, ceiling)
    content = json.dumps(_content(outcome, header, verdict, points), indent=1)
    if request.form == "json":
        click.echo(content)
    else:
        _show(outcome)
        click.echo()
        wrapped(str(verdict))
    if request.output is not None:  # last: a full disk must not lose the outcome
        (request.output / "metg.json").write_text(content + "\n", encoding="utf-8")
        draw_efficiency(outcome, request.output / "metg")
        if request.form == "text":
            click.echo(f"\nFigure: {request.output / 'metg.svg'}")


def _check_folder(output: Path) -> None:
    """Refuses an unwritable folder now rather than after the measurement."""
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
        raise BenchError("--backends must name a backend other than sequential")
    return names


def _content(
    outcome: Metg, header: Mapping[str, Any], verdict: Verdict, points: Sequence[Point]
) -> dict[str, Any]:
    return {
        **header,
        "noise": verdict.as_json(),
        "kernel": outcome.kernel,
        "workers": outcome.workers,
        "ceiling": outcome.ceiling,
        "metg_s": {
            name: {str(level): _values(crossing) for level, crossing in levels.items()}
            for name, levels in outcome.metg.items()
        },
        "break_even_s": {name: _values(crossing) for name, crossing in outcome.break_even.items()},
        "points": [asdict(point) for point in points],
    }


def _values(crossing: Crossing) -> list[float | None]:
    """JSON has no infinity: None is "not reached"."""
    lengths_s = (crossing.length_s, crossing.low_s, crossing.high_s)
    return [None if s is None or math.isinf(s) else s for s in lengths_s]


def _show(outcome: Metg) -> None:
    click.echo(f"{outcome.kernel}, {outcome.workers} workers, {outcome.blocks} blocks")
    reached = f"{outcome.ceiling:.2f} times as fast as one"
    click.echo(f"ceiling: {outcome.workers} processes are {reached}\n")
    if outcome.ceiling < 1:
        wrapped(
            "Together they are slower than one alone: something else uses the CPUs, and the"
            " figures below mean little.\n"
        )
    if outcome.blocks < MIN_SAMPLES:
        wrapped(f"Fewer than {MIN_SAMPLES} blocks: no intervals.\n")
    click.echo("backend    level             METG   95 % interval")
    for name, levels in outcome.metg.items():
        for level in LEVELS:
            crossing = levels[level]
            click.echo(
                f"{name:<10} {100 * level:>4.0f} % {length_of(crossing.length_s):>16}"
                f"   {_interval(crossing)}".rstrip()
            )
    click.echo()
    for name, crossing in outcome.break_even.items():
        wrapped(_plainly(name, crossing, outcome))


def _interval(crossing: Crossing) -> str:
    if crossing.low_s is None or crossing.high_s is None:
        return ""
    return f"{length_of(crossing.low_s)} to {length_of(crossing.high_s)}"


def _plainly(name: str, crossing: Crossing, outcome: Metg) -> str:
    tasks = f"{outcome.kernel} tasks"
    if math.isinf(crossing.length_s):
        return f"{name}: {tasks} of up to 5 ms are not worth running in parallel here."
    if not crossing.length_s:
        return f"{name}: even {tasks} of 5 us are worth running in parallel here."
    return (
        f"{name}: {tasks} shorter than {length_of(crossing.length_s)} are not worth running in"
        " parallel here."
    )
