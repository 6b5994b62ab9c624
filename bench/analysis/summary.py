"""What follows from the measurements: summaries of cases, picks, and a finding in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.analysis.estimates import MIN_SAMPLES, WORTH, Estimate, ratio, ratio_of_medians
from bench.analysis.scaling import Fits, fit
from bench.measure.plan import Case
from bench.results.store import CeilingSample, Measurement, Results
from bench.workloads.kernels import KERNELS
from executors.backends import SEQUENTIAL, SIMULATED

__all__ = ["BASELINE", "SIMULATED", "Group", "Row", "finding", "shortfall", "summarise"]


@dataclass(frozen=True, slots=True)
class Row:
    """The summary of one case.

    Attributes:
        speedup: against the baseline of the same shape and kernel, both warm.
        cold: the same with the start of the pool counted.
        efficiency: speedup over the cores that it could use, or where tasks wait over its workers.
        of_ceiling: speedup over what independent processes reached on as many cores, or None.
        wall_s: all samples, in the order in which they were made.
    """

    case: Case
    speedup: Estimate
    cold: Estimate
    efficiency: float
    of_ceiling: float | None
    wall_s: tuple[float, ...]
    median_s: float
    cores_busy: float

    @property
    def is_simulated(self) -> bool:
        """Nothing ran: it says what a machine with so many cores would take."""
        return self.case.backend == SIMULATED

    @property
    def utilisation(self) -> float:
        """CPU time over workers x wall."""
        return self.cores_busy / self.case.workers


@dataclass(frozen=True, slots=True)
class Group:
    """All cases of one shape and kernel.

    Attributes:
        tasks, depth: of the graph, all of whose tasks have the same kernel.
        parallelism: work over span of a workflow, whose tasks differ in length; else None.
        pick: the case with the fewest workers that is surely within 5 % of the fastest, or the
            fastest; the baseline where no case is surely faster than it.
        rival: the fastest case of another backend, or None.
        ceilings: how many times as fast as one process so many independent ones are.
        fits: curves through the times of a backend, as captions.
    """

    shape: str
    kernel: str
    tasks: int
    depth: int
    parallelism: float | None
    rows: tuple[Row, ...]
    pick: Row
    rival: Row | None
    ceilings: dict[int, Estimate]
    fits: dict[str, Fits]

    def bound(self, workers: int | None = None) -> float:
        """The largest speedup that the graph allows; None: workers without end.

        With equal tasks, p workers need at least max(ceil(tasks / p), depth) steps (Brent 1974),
        with others max(work / p, span) seconds.
        """
        if self.parallelism is not None:
            return min(self.parallelism, float("inf") if workers is None else workers)
        steps = self.depth if workers is None else max(-(-self.tasks // workers), self.depth)
        return self.tasks / steps


def is_precise(measurements: Iterable[Measurement], wanted: float) -> bool:
    """Whether the intervals of all speedups are at most so wide (see `Estimate.precision`)."""
    by_case = walls_of(measurements)
    baselines = {
        (case.shape, case.kernel): walls for case, walls in by_case.items() if is_baseline(case)
    }
    return all(
        ratio_of_medians(baselines[case.shape, case.kernel], walls).precision <= wanted
        for case, walls in by_case.items()
    )


def walls_of(measurements: Iterable[Measurement]) -> dict[Case, list[float]]:
    """The wall times of each case, in the order in which they were measured."""
    walls: dict[Case, list[float]] = {}
    for made in measurements:
        walls.setdefault(made.case, []).append(made.wall_s)
    return walls


def shortfall(results: Results) -> str | None:
    """What the results lack of what was asked for, or None."""
    options = results.header["config"]["options"]
    wanted = options.get("precision")
    is_open = wanted is not None or options.get("budget") is not None
    if not results.is_complete:
        made = len(results.measurements)
        planned = "" if is_open else f" of {results.header['planned']}"
        return f"Incomplete: {made}{planned} measurements."
    if wanted is not None and results.end != "precision":
        return f"Not all intervals are as narrow as the precision asked for, {wanted:g}."
    return None


def is_baseline(case: Case) -> bool:
    """Whether it is what speedups are measured against."""
    return case.backend == BASELINE


def summarise(results: Results) -> list[Group]:
    """A group for each shape and kernel that has a baseline, in the order of the plan."""
    by_case: dict[Case, list[Measurement]] = {}
    for made in results.measurements:
        by_case.setdefault(made.case, []).append(made)
    groups = []
    for shape in results.header["config"]["shapes"]:
        for kernel in results.header["config"]["kernels"]:
            cases = [case for case in by_case if (case.shape, case.kernel) == (shape, kernel)]
            if any(map(is_baseline, cases)):
                cases.sort(key=lambda case: (not is_baseline(case), case.backend, case.workers))
                groups.append(
                    _group(results, shape, kernel, {case: by_case[case] for case in cases})
                )
    return groups


def _group(
    results: Results, shape: str, kernel: str, samples: dict[Case, list[Measurement]]
) -> Group:
    known = KERNELS.get(results.header["kernels"][kernel].get("kernel"))
    waits = known is not None and known.waits
    ceilings = _ceilings(results, kernel)
    baseline = next(made for case, made in samples.items() if is_baseline(case))
    rows = []
    for case, made in samples.items():
        is_free = waits or case.backend == SIMULATED  # of the number of CPUs
        cores = case.workers if is_free else min(case.workers, int(results.header["cpus"]))
        rows.append(_row(case, made, baseline, cores, ceilings.get(cores)))
    pick = _pick(rows)
    others = [row for row in rows if row.case.backend not in (pick.case.backend, BASELINE)]
    others = [row for row in others if not row.is_simulated]
    sizes = results.header["shapes"][shape]
    return Group(
        shape=shape,
        kernel=kernel,
        tasks=sizes["tasks"],
        depth=sizes["depth"],
        parallelism=sizes["work_s"] / sizes["span_s"] if sizes.get("span_s") else None,
        rows=tuple(rows),
        pick=pick,
        rival=min(others, key=lambda row: row.median_s, default=None),
        ceilings=ceilings,
        fits=_fits(rows),
    )


def _row(
    case: Case,
    made: Sequence[Measurement],
    baseline: Sequence[Measurement],
    cores: int,
    ceiling: Estimate | None,
) -> Row:
    walls = [each.wall_s for each in made]
    before = walls if made is baseline else [each.wall_s for each in baseline]
    speedup = ratio_of_medians(before, walls)
    colds = [each.wall_s + each.start_s for each in made]
    before = colds if made is baseline else [each.wall_s + each.start_s for each in baseline]
    return Row(
        case=case,
        speedup=speedup,
        cold=ratio_of_medians(before, colds),
        efficiency=speedup.value / cores,
        of_ceiling=speedup.value / ceiling.value if ceiling else None,
        wall_s=tuple(walls),
        median_s=median(walls),
        cores_busy=median(each.cpu_s / each.wall_s for each in made),
    )


def _ceilings(results: Results, kernel: str) -> dict[int, Estimate]:
    """By number of processes; one is its own ceiling."""
    found: dict[int, list[CeilingSample]] = {}
    for sample in results.ceilings:
        if sample.kernel == kernel:
            found.setdefault(sample.workers, []).append(sample)
    if not found:
        return {}
    return {1: Estimate(1.0, 1.0, 1.0)} | {
        count: ratio([[each.one_s for each in made]], [[each.all_s for each in made]], count)
        for count, made in sorted(found.items())
    }


def _fits(rows: Sequence[Row]) -> dict[str, Fits]:
    fits = {}
    for backend in dict.fromkeys(row.case.backend for row in rows if not row.is_simulated):
        walls = {row.case.workers: row.wall_s for row in rows if row.case.backend == backend}
        found = fit(walls)
        if found is not None:
            fits[backend] = found
    return fits


def _pick(rows: Sequence[Row]) -> Row:
    """The fewest workers that surely gain something and surely take no longer than the best.

    A pool of one worker gains nothing by being a pool, so it is never picked.
    """
    gaining = [
        row
        for row in rows
        if row.case.workers > 1 and not row.is_simulated and _low(row.speedup) > 1
    ]
    if not gaining:
        return next(row for row in rows if row.case.backend == BASELINE)
    best = min(gaining, key=lambda row: row.median_s)
    near = [row for row in gaining if row is best or _is_near(row, best)]
    return min(near, key=lambda row: (row.case.workers, row.median_s))


def _is_near(row: Row, other: Row) -> bool:
    """Whether a case surely takes at most 5 % longer than another."""
    return _high(ratio_of_medians(row.wall_s, other.wall_s)) <= 1 + WORTH


def _low(estimate: Estimate) -> float:
    """The sure part of a gain; without an interval, what is left of it after 5 %."""
    return estimate.value / (1 + WORTH) if estimate.low is None else estimate.low


def _high(estimate: Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high


def finding(groups: Sequence[Group], cpus: int) -> str:
    """One sentence: for each kernel what to run it on, what that gains, and how sure it is."""
    clauses = []
    for kernel in dict.fromkeys(group.kernel for group in groups):
        same = [group for group in groups if group.kernel == kernel]
        clauses.append(_clause(kernel, same))
    if not clauses:
        return "Nothing can be said yet: no case has been measured beside its baseline."
    is_unsure = any(not row.speedup.has_interval for group in groups for row in group.rows)
    unsure = f" (fewer than {MIN_SAMPLES} blocks: too few to say how sure)" if is_unsure else ""
    return f"On {cpus} CPU{'s' if cpus > 1 else ''}, " + "; ".join(clauses) + unsure + "."


def _clause(kernel: str, groups: Sequence[Group]) -> str:
    """Of all shapes of a kernel: the one with the largest sure gain."""
    group = max(groups, key=lambda group: _low(group.pick.speedup))
    others = [row for group in groups for row in group.rows if not is_baseline(row.case)]
    others = [row for row in others if not row.is_simulated]
    if not others:
        return f"{kernel} tasks were run sequentially only, so there is nothing to compare"
    if is_baseline(group.pick.case):
        if all(_high(row.speedup) <= 1 + WORTH for row in others):
            return f"{kernel} tasks gain nothing from more workers"
        return f"{kernel} tasks could not be shown to gain from more workers"
    return f"{kernel} tasks gain most {finding_of(group)}"


def finding_of(group: Group) -> str:
    """What one shape and kernel gain from their pick."""
    pick, rival = group.pick, group.rival
    if is_baseline(pick.case):
        return "no gain could be shown"
    interval = ""
    if pick.speedup.low is not None and pick.speedup.high is not None:
        interval = f" ({pick.speedup.low:.2f} to {pick.speedup.high:.2f})"
    tie = ""
    if rival is not None and pick.speedup.has_interval and _is_near(rival, pick):
        tie = f" ({rival.case.backend} with {rival.case.workers}: at most 5 % longer)"
    return (
        f"on {pick.case.backend} with {pick.case.workers} workers:"
        f" {pick.speedup.value:.2f} times as fast as sequentially{interval} in {group.shape}{tie}"
    )
