"""`bench metg`: how short tasks may be."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import BenchError
from bench.analysis.estimates import MIN_SAMPLES
from bench.granularity.crossings import LEVELS, Crossing, Metg, Point, summarise
from bench.granularity.sweep import check_kernel, measure
from bench.machine.counters import SystemCounters
from bench.machine.facts import describe_machine, describe_versions
from bench.machine.noise import UNUSABLE, Verdict, judge_machine
from bench.predict.worker_counts import parsed_counts
from bench.results.case import BASELINE
from bench.terminal.answers import show_verdict
from bench.terminal.exit_codes import UNSURE
from bench.terminal.output import counted, echo, first_column, wrapped
from bench.terminal.progress import Progress
from bench.workloads.duration import shown
from executors import usable_cpus
from executors.backends import default_backends
from reports.granularity import draw_efficiency, length_of


@dataclass(frozen=True, slots=True)
class MetgRequest:
    """What to measure and how to show it; each field is the option of that name."""

    kernel: str
    backends: str | None
    max_workers: str | None
    blocks: int
    seed: int
    form: str
    output: Path | None
    quiet: bool


def metg(request: MetgRequest) -> int:
    """Measures and prints; writes samples and figures if a folder is given.

    The exit code is 4 if it cannot tell for a backend.

    JSON has an object for a single number of workers, and a list of them for several.
    """
    numbers = request.max_workers
    counts = [usable_cpus()] if numbers is None else parsed_counts(numbers)
    if counts[0] < 2:
        raise BenchError(
            f"METG needs at least 2 workers, not {counts[0]}: with one, nothing runs in parallel"
        )
    check_kernel(request.kernel)
    if request.output is not None:
        _check_folder(request.output)
    sweeps: list[Sweep] = []
    for workers in counts:
        sweeps.append(_sweep(request, workers))
        if request.output is not None:  # now: nobody may be reading what is printed
            _write(sweeps, len(counts), request.output)
        if request.form == "text":
            _show(sweeps[-1])
    if request.form == "json":
        echo(_json(sweeps, len(counts)))
    elif request.output is not None:
        for workers in counts:
            echo(f"Figure: {request.output / _figure(workers, len(counts))}.svg")
    return 0 if all(sweep.is_known(name) for sweep in sweeps for name in sweep.names) else UNSURE


def _json(sweeps: Sequence[Sweep], count: int) -> str:
    contents = [sweep.content() for sweep in sweeps]
    return json.dumps(contents if count > 1 else contents[0], indent=1)


def _write(sweeps: Sequence[Sweep], count: int, output: Path) -> None:
    (output / "metg.json").write_text(_json(sweeps, count) + "\n", encoding="utf-8")
    outcome = sweeps[-1].outcome
    draw_efficiency(outcome, output / _figure(outcome.workers, count))


def _figure(workers: int, count: int) -> str:
    return "metg" if count == 1 else f"metg-{workers}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was measured with one number of workers, and what follows."""

    header: Mapping[str, Any]
    points: Sequence[Point]
    outcome: Metg
    verdict: Verdict

    @property
    def names(self) -> list[str]:
        """The backends."""
        return list(self.outcome.metg)

    def is_known(self, backend: str) -> bool:
        """Whether the sweep tells how short tasks may be on a backend."""
        return self.verdict.level != UNUSABLE and self.outcome.is_known(backend)

    def content(self) -> dict[str, Any]:
        """For JSON; `metg_s` and `break_even_s` are length, low and high in seconds."""
        outcome = self.outcome
        return {
            **self.header,
            "noise": self.verdict.as_json(),
            "kernel": outcome.kernel,
            "workers": outcome.workers,
            "ceiling": outcome.ceiling,
            "metg_s": {
                name: {str(level): _values(crossing) for level, crossing in levels.items()}
                for name, levels in outcome.metg.items()
            },
            "break_even_s": {
                name: _values(crossing) for name, crossing in outcome.break_even.items()
            },
            "is_known": {name: self.is_known(name) for name in self.names},
            "points": [asdict(point) for point in self.points],
        }


def _sweep(request: MetgRequest, workers: int) -> Sweep:
    names = _names(request.backends)
    header = {"machine": describe_machine(), "versions": describe_versions()}
    with Progress(request.quiet) as progress:
        before = SystemCounters()
        points, ceiling = measure(
            request.kernel, names, workers, request.blocks, request.seed, progress
        )
    meanwhile = SystemCounters().since(before, "", workers, 0)
    verdict = judge_machine(header["machine"], [meanwhile])
    return Sweep(header, points, summarise(points, request.kernel, workers, ceiling), verdict)


def _check_folder(output: Path) -> None:
    """Refuses an unwritable folder now rather than after the measurement."""
    if (output / "metg.json").exists():
        raise BenchError(f"{output / 'metg.json'} exists already; name another folder with -o")
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK | os.X_OK):
        raise BenchError(f"cannot write to {output}; name another folder with -o")


def _names(backends: str | None) -> list[str]:
    if backends is None:
        return [name for name in default_backends() if name != BASELINE]
    names = [name.strip() for name in backends.split(",") if name.strip() not in ("", BASELINE)]
    if not names:
        raise BenchError("--backends must name a backend other than sequential")
    return names


def _values(crossing: Crossing) -> list[float | None]:
    """JSON has no infinity: None is "not reached"."""
    lengths_s = (crossing.length_s, crossing.low_s, crossing.high_s)
    return [None if s is None or math.isinf(s) else s for s in lengths_s]


def _show(sweep: Sweep) -> None:
    outcome = sweep.outcome
    echo(f"{outcome.kernel}, {outcome.workers} workers, {counted(outcome.blocks, 'block')}")
    reached = f"{outcome.ceiling:.2f} times as fast as one"
    echo(f"ceiling: {outcome.workers} processes are {reached}\n")
    if not sweep.verdict.is_clean:
        show_verdict(sweep.verdict)
        echo()
    if outcome.ceiling < 1:
        wrapped(
            "Together they are slower than one alone: something else uses the CPUs, and the"
            " figures below mean little."
        )
        echo()
    if outcome.blocks < MIN_SAMPLES:
        wrapped(f"Fewer than {MIN_SAMPLES} blocks: no intervals.")
        echo()
    pad = first_column(outcome.metg, 11)
    echo(f"{pad('backend')}level             METG   95 % interval")
    for name, levels in outcome.metg.items():
        for level in LEVELS:
            crossing = levels[level]
            echo(
                f"{pad(name)}{100 * level:>4.0f} % {length_of(crossing.length_s):>16}"
                f"   {_interval(crossing)}".rstrip()
            )
    echo()
    for name in sweep.names:
        wrapped(_plainly(name, sweep), bold=True)
    echo()
    if sweep.verdict.is_clean:
        show_verdict(sweep.verdict)
        echo()


def _interval(crossing: Crossing) -> str:
    if crossing.low_s is None or crossing.high_s is None:
        return ""
    return f"{length_of(crossing.low_s)} to {length_of(crossing.high_s)}"


def _plainly(name: str, sweep: Sweep) -> str:
    outcome = sweep.outcome
    length_s = outcome.break_even[name].length_s
    tasks = f"{outcome.kernel} tasks"
    if not sweep.is_known(name):
        return (
            f"{name}: cannot tell how long {tasks} must be to be worth running in parallel here."
            " Stop other programs, or measure more blocks, and try again."
        )
    if math.isinf(length_s):
        longest = shown(outcome.lengths_s[-1], digits=2)
        return f"{name}: {tasks} of up to {longest} are not worth running in parallel here."
    if not length_s:
        shortest = shown(outcome.lengths_s[0], digits=2)
        return f"{name}: even {tasks} of {shortest} are worth running in parallel here."
    return (
        f"{name}: {tasks} shorter than {length_of(length_s)} are not worth running in parallel"
        " here."
    )
