"""Medians, their intervals, and what follows from them.

A speedup is the median wall time of the baseline over that of the case. Its 95 % interval is an
independent percentile bootstrap of that ratio (Efron and Tibshirani 1993, chapter 13), which
covered 95 to 98 % of simulated truths from 5 samples on. Fewer samples get no interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.plan import Case
from bench.results import Measurement, Results
from executors.backends import BASELINE

__all__ = ["BASELINE", "Estimate", "Floats", "Group", "Row", "finding", "summarise"]

RESAMPLES = 10_000
CONFIDENCE = 0.95
MIN_SAMPLES = 5
WORTH = 0.05  # a difference of less than this is none

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; None where there are too few samples for one."""

    value: float
    low: float | None
    high: float | None

    @property
    def is_certain(self) -> bool:
        return self.low is not None


@dataclass(frozen=True, slots=True)
class Row:
    """The summary of one case.

    Attributes:
        speedup: against the baseline of the same shape and kernel, both warm.
        slowdown: median time over that of the fastest case; 1 for the fastest.
        wall_s: all samples, in the order in which they were made.
        utilisation: median CPU time over workers x wall.
        with_start_s: median of the pool's start and the run together.
    """

    case: Case
    speedup: Estimate
    slowdown: Estimate
    wall_s: tuple[float, ...]
    median_s: float
    with_start_s: float
    cores_busy: float
    utilisation: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Group:
    """All cases of one shape and kernel.

    Attributes:
        work_s: median sum of the task times, run sequentially.
        span_s: median critical path of the same.
        pick: the case with the fewest workers that is surely within 5 % of the fastest.
        rival: the fastest case of another backend, or None.
    """

    shape: str
    kernel: str
    rows: tuple[Row, ...]
    work_s: float
    span_s: float
    pick: Row
    rival: Row | None

    def bound(self, workers: float) -> float:
        """The largest speedup that the graph allows: T1 / max(T1 / p, Tinf) (Brent 1974)."""
        return min(workers, self.work_s / self.span_s) if self.span_s else workers


def ratio_of_medians(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """median(above) / median(below) with its interval; the same input gives the same output."""
    if above is below:
        return Estimate(1.0, 1.0, 1.0)
    value = float(np.median(above) / np.median(below))
    if min(len(above), len(below)) < MIN_SAMPLES:
        return Estimate(value, None, None)
    random = np.random.default_rng(0)
    ratios = _medians(above, random) / _medians(below, random)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(ratios, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def _medians(samples: Sequence[float], random: np.random.Generator) -> Floats:
    chosen = random.choice(np.asarray(samples, float), (RESAMPLES, len(samples)))
    medians: Floats = np.median(chosen, axis=1)
    return medians


def summarise(results: Results) -> list[Group]:
    """A group for each shape and kernel that has a baseline, in the order of the plan."""
    by_case: dict[Case, list[Measurement]] = {}
    for made in results.measurements:
        by_case.setdefault(made.case, []).append(made)
    groups = []
    for shape in results.header["config"]["shapes"]:
        for kernel in results.header["config"]["kernels"]:
            cases = [case for case in by_case if (case.shape, case.kernel) == (shape, kernel)]
            if any(case.backend == BASELINE for case in cases):
                cases.sort(key=lambda case: (case.backend != BASELINE, case.backend, case.workers))
                groups.append(_group(shape, kernel, {case: by_case[case] for case in cases}))
    return groups


def _group(shape: str, kernel: str, samples: dict[Case, list[Measurement]]) -> Group:
    walls = {case: [made.wall_s for made in all_made] for case, all_made in samples.items()}
    baseline = next(case for case in walls if case.backend == BASELINE)
    fastest = min(walls, key=lambda case: float(np.median(walls[case])))
    rows = []
    for case, made in samples.items():
        rows.append(
            Row(
                case,
                ratio_of_medians(walls[baseline], walls[case]),
                ratio_of_medians(walls[case], walls[fastest]),
                tuple(walls[case]),
                _median(walls[case]),
                _median(each.wall_s + each.start_s for each in made),
                _median(each.cpu_s / each.wall_s for each in made),
                _median(each.utilisation for each in made),
                _median(each.memory_bytes for each in made),
            )
        )
    pick = _pick(rows)
    others = [row for row in rows if row.case.backend not in (pick.case.backend, BASELINE)]
    return Group(
        shape,
        kernel,
        tuple(rows),
        _median(made.work_s for made in samples[baseline]),
        _median(made.span_s for made in samples[baseline]),
        pick,
        min(others, key=lambda row: row.median_s, default=None),
    )


def _pick(rows: Sequence[Row]) -> Row:
    """The fewest workers whose time is surely, or without intervals probably, near the best."""

    def is_near(row: Row) -> bool:
        high = row.slowdown.value if row.slowdown.high is None else row.slowdown.high
        return high <= 1 + WORTH or row.slowdown.value == 1

    def cost(row: Row) -> tuple[int, bool, float]:
        return row.case.workers, row.case.backend != BASELINE, row.median_s

    return min((row for row in rows if is_near(row)), key=cost)


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def finding(groups: Sequence[Group], cpus: int) -> str:
    """One sentence: for each kernel what runs it fastest, by how much, and how sure that is."""
    clauses = []
    for kernel in dict.fromkeys(group.kernel for group in groups):
        same = [group for group in groups if group.kernel == kernel]
        clauses.append(_clause(kernel, max(same, key=lambda group: group.pick.speedup.value)))
    if not clauses:
        return "Nothing can be said yet: no case has been measured beside its baseline."
    unsure = (
        ""
        if all(_is_certain(group) for group in groups)
        else (f" (fewer than {MIN_SAMPLES} blocks: too few to say how sure)")
    )
    return f"On {cpus} CPU{'s' if cpus > 1 else ''}, " + "; ".join(clauses) + unsure + "."


def _is_certain(group: Group) -> bool:
    return all(row.speedup.is_certain for row in group.rows)


def _clause(kernel: str, group: Group) -> str:
    pick = group.pick
    if pick.case.backend == BASELINE:
        return f"{kernel} tasks gain nothing from more workers"
    interval = ""
    if pick.speedup.low is not None and pick.speedup.high is not None:
        interval = f" ({pick.speedup.low:.2f} to {pick.speedup.high:.2f})"
    tie = ""
    rival = group.rival
    if rival is not None and rival.slowdown.high is not None and rival.slowdown.high <= 1 + WORTH:
        tie = f", and {rival.case.backend} with {rival.case.workers} does as well"
    workers = f"{pick.case.workers} worker{'s' if pick.case.workers > 1 else ''}"
    return (
        f"run {kernel} tasks on {pick.case.backend} with {workers}:"
        f" {pick.speedup.value:.2f} times sequential{interval} for {group.shape}{tie}"
    )
