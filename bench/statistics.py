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

__all__ = ["BASELINE", "Estimate", "Floats", "Group", "Row", "caution", "finding", "summarise"]

RESAMPLES = 10_000
CONFIDENCE = 0.95
MIN_SAMPLES = 5
WORTH = 0.05  # a difference of less than this is none
BUSY = 0.5  # load a CPU from which on a machine is not idle

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
        tasks, depth: of the graph, all of whose tasks have the same kernel.
        pick: the case with the fewest workers that is surely within 5 % of the fastest, or the
            fastest; the baseline where no case is surely faster than it.
        rival: the fastest case of another backend, or None.
    """

    shape: str
    kernel: str
    tasks: int
    depth: int
    rows: tuple[Row, ...]
    pick: Row
    rival: Row | None

    def bound(self, workers: int | None = None) -> float:
        """The largest speedup that the graph allows with equal tasks; None: workers without end.

        In steps of a task, p workers need at least max(ceil(tasks / p), depth) (Brent 1974).
        """
        steps = self.depth if workers is None else max(-(-self.tasks // workers), self.depth)
        return self.tasks / steps


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
                sizes = results.header["shapes"][shape]
                groups.append(_group(shape, kernel, sizes, {case: by_case[case] for case in cases}))
    return groups


def _group(
    shape: str, kernel: str, sizes: dict[str, int], samples: dict[Case, list[Measurement]]
) -> Group:
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
    rival = min(others, key=lambda row: row.median_s, default=None)
    return Group(shape, kernel, sizes["tasks"], sizes["depth"], tuple(rows), pick, rival)


def _pick(rows: Sequence[Row]) -> Row:
    """The fewest workers that surely gain something and surely take no longer than the best.

    A pool of one worker gains nothing by being a pool, so it is never picked.
    """
    gaining = [row for row in rows if row.case.workers > 1 and _low(row.speedup) > 1]
    if not gaining:
        return next(row for row in rows if row.case.backend == BASELINE)
    best = min(gaining, key=lambda row: row.median_s)
    near = [row for row in gaining if row is best or _high(row.slowdown) <= 1 + WORTH]
    return min(near, key=lambda row: (row.case.workers, row.median_s))


def _low(estimate: Estimate) -> float:
    """The sure part of a gain; without an interval, what is left of it after 5 %."""
    return estimate.value / (1 + WORTH) if estimate.low is None else estimate.low


def _high(estimate: Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def finding(groups: Sequence[Group], cpus: int) -> str:
    """One sentence: for each kernel what to run it on, what that gains, and how sure it is."""
    clauses = []
    for kernel in dict.fromkeys(group.kernel for group in groups):
        same = [group for group in groups if group.kernel == kernel]
        clauses.append(_clause(kernel, max(same, key=lambda group: _low(group.pick.speedup))))
    if not clauses:
        return "Nothing can be said yet: no case has been measured beside its baseline."
    is_unsure = any(not row.speedup.is_certain for group in groups for row in group.rows)
    unsure = f" (fewer than {MIN_SAMPLES} blocks: too few to say how sure)" if is_unsure else ""
    return f"On {cpus} CPU{'s' if cpus > 1 else ''}, " + "; ".join(clauses) + unsure + "."


def _clause(kernel: str, group: Group) -> str:
    pick, rival = group.pick, group.rival
    others = [row for row in group.rows if row.case.backend != BASELINE]
    if not others:
        return f"{kernel} tasks were run sequentially only, so there is nothing to compare"
    if pick.case.backend == BASELINE:
        if all(_high(row.speedup) <= 1 + WORTH for row in others):
            return f"{kernel} tasks gain nothing from more workers"
        return f"{kernel} tasks could not be shown to gain from more workers"
    interval = ""
    if pick.speedup.low is not None and pick.speedup.high is not None:
        interval = f" ({pick.speedup.low:.2f} to {pick.speedup.high:.2f})"
    tie = ""
    if rival is not None and rival.slowdown.high is not None and _high(rival.slowdown) <= 1 + WORTH:
        tie = f", as on {rival.case.backend} with {rival.case.workers}"
    return (
        f"{kernel} tasks gain most on {pick.case.backend} with {pick.case.workers} workers:"
        f" {pick.speedup.value:.2f} times as fast as sequentially{interval} in {group.shape}{tie}"
    )


def caution(results: Results) -> str | None:
    """Why these figures should not be trusted too far, or None."""
    load, cpus = results.header["machine"]["load_1min"], results.header["cpus"]
    if load < BUSY * cpus:
        return None
    return (
        f"Other work was running before (load {load:g} on {cpus} CPUs), which can hide or feign"
        " a speedup; measure again when the machine is idle."
    )
