"""What follows from the results: a summary per case, the pick of each group, a finding in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.analysis.answer import Answer, sentence
from bench.analysis.estimates import (
    Estimate,
    ratio,
    ratio_of_medians,
)
from bench.analysis.group import Group as Group
from bench.analysis.group import finding_of as finding_of
from bench.analysis.losses.account import account_of
from bench.analysis.losses.causes import causes_of
from bench.analysis.pythons import sharing
from bench.analysis.rows import Row as Row
from bench.analysis.rows import guess_of, is_decided, pick_of
from bench.analysis.scaling import Fits, fit
from bench.analysis.stacks import stack_rows
from bench.analysis.steadiness import judge
from bench.machine.noise import UNUSABLE, Verdict
from bench.results.case import Case
from bench.results.store import CeilingSample, Measurement, Results
from bench.workloads.kernels import COMPUTES, KERNELS, Kernel
from bench.workloads.own_graphs import OWN_TASKS
from bench.workloads.payload import split


@dataclass(frozen=True, slots=True)
class Summary:
    """What a results file says, worked out once.

    Attributes:
        groups: one for each shape and kernel that has a baseline, in the order of the plan.
        answers: one for each of them in which there is something to compare.
        verdict: how quiet the machine was.
        finding: one sentence: what to run the graphs on.
        shortfall: what is missing of what was asked for, or None.
    """

    results: Results
    groups: tuple[Group, ...]
    answers: tuple[Answer, ...]
    verdict: Verdict
    finding: str
    shortfall: str | None

    @property
    def cpus(self) -> int:
        return int(self.results.header["cpus"])


def summarise(results: Results) -> Summary:
    """Summarises and judges a results file."""
    verdict = judge(results)
    groups = _groups(results, is_usable=verdict.level != UNUSABLE)
    answers = tuple(group.answer for group in groups if len(group.measured) > 1)
    only_baseline = "Only the baseline was measured, so there is nothing to compare."
    if groups:
        only_baseline = only_baseline.replace("the baseline was", f"{groups[0].baseline} runs were")
    return Summary(
        results=results,
        groups=groups,
        answers=answers,
        verdict=verdict,
        finding=sentence(answers) if answers or not groups else only_baseline,
        shortfall=shortfall(results),
    )


def is_precise(measurements: Iterable[Measurement], wanted: float, reference: str = "") -> bool:
    """Whether all speedups have at most this precision (see `Estimate.precision`).

    Args:
        reference: the Python whose baseline they are measured against.
    """
    walls = walls_of(measurements)
    baselines = {
        (case.shape, case.kernel): walls[case]
        for case in walls
        if case.is_baseline and case.python == reference
    }
    return all(
        ratio_of_medians(baselines[case.shape, case.kernel], wall_s).precision <= wanted
        for case, wall_s in walls.items()
    )


def walls_of(measurements: Iterable[Measurement]) -> dict[Case, list[float]]:
    """The wall times of each case, in the order in which they were measured."""
    walls: dict[Case, list[float]] = {}
    for measurement in measurements:
        walls.setdefault(measurement.case, []).append(measurement.wall_s)
    return walls


def shortfall(results: Results) -> str | None:
    """A sentence on what the results lack compared with the request, or None."""
    options = results.header["config"]["options"]
    wanted = options.get("precision")
    is_open = wanted is not None or options.get("budget") is not None
    if not results.is_complete:
        planned, done = results.header["planned"], len(results.measurements)
        if not is_open:
            return f"Incomplete: {done} of {planned} measurements."
        most = results.header["config"]["blocks"]
        whole = done * most // planned
        return f"Incomplete: {done} measurements, {whole} of at most {most} blocks."
    if wanted is not None and results.end != "precision":
        return f"Not all intervals reached the requested precision, {wanted:g}."
    return None


def _groups(results: Results, is_usable: bool) -> tuple[Group, ...]:
    by_case: dict[Case, list[Measurement]] = {}
    for measurement in results.measurements:
        by_case.setdefault(measurement.case, []).append(measurement)
    pythons = list(results.header.get("pythons", {})) or [""]
    groups = []
    for shape in results.header["config"]["shapes"]:
        for kernel in results.header["config"]["kernels"]:
            cases = [case for case in by_case if (case.shape, case.kernel) == (shape, kernel)]
            cases.sort(
                key=lambda case: (
                    pythons.index(case.python),
                    not case.is_baseline,
                    case.backend,
                    case.workers,
                )
            )
            if cases and cases[0].is_baseline and cases[0].python == pythons[0]:
                samples = {case: by_case[case] for case in cases}
                groups.append(_group(results, shape, kernel, samples, is_usable))
    return tuple(groups)


def _activity(kernel: str, kind: Kernel | None) -> str:
    """What tasks do, and what they hand on."""
    plain, payload = split(kernel)
    doing = plain if kind is None else kind.activity
    return f"{doing} with {payload.words}" if payload.size else doing


def _group(
    results: Results,
    shape: str,
    kernel: str,
    samples: dict[Case, list[Measurement]],
    is_usable: bool,
) -> Group:
    kind = KERNELS.get(results.header["kernels"][kernel].get("kernel"))
    cpus = int(results.header["cpus"])
    ceilings = {python: _ceilings(results, kernel, python) for python in _pythons(samples)}
    baseline = next(iter(samples.values()))
    waits = kind.waits if kind is not None else median(map(_cpu_share, baseline)) < COMPUTES
    rows = []
    for case, runs in samples.items():
        needs_no_cpus = waits or case.is_simulated
        cores = case.workers if needs_no_cpus else min(case.workers, cpus)
        own = samples.get(case.baseline) or baseline
        rows.append(_row(case, runs, (baseline, own), cores, ceilings[case.python].get(cores)))
    pick = pick_of(rows)
    eligible = [row for row in rows if row.can_be_picked]
    is_sure = is_usable and is_decided(pick, eligible)
    guess = None if is_sure else guess_of(eligible)
    best = guess or pick
    rivals = [
        row for row in eligible if row.case.line != best.case.line and not row.case.is_baseline
    ]
    sizes = results.header["shapes"][shape]
    return Group(
        shape=shape,
        kernel=kernel,
        activity=shape if kernel == OWN_TASKS else _activity(kernel, kind),
        tasks=sizes["tasks"],
        depth=sizes["depth"],
        parallelism=sizes["work_s"] / sizes["span_s"] if sizes.get("span_s") else None,
        rows=tuple(rows),
        pick=pick,
        guess=guess,
        rival=guess_of(rivals) if rivals else None,
        ceilings=ceilings[results.reference],
        sharing=tuple(sharing(rows, kind, cpus)),
        fits=_fits(rows),
        causes=causes_of(results, best, eligible) if is_usable else {},  # else others are the cause
        stacks=tuple(
            stack_rows(
                samples, sizes["tasks"], results.header["kernels"][kernel].get("length_s") or 0
            )
        ),
    )


def _pythons(cases: Iterable[Case]) -> set[str]:
    return {case.python for case in cases}


def _cpu_share(run: Measurement) -> float:
    return run.cpu_s / run.wall_s


def _row(
    case: Case,
    runs: Sequence[Measurement],
    baselines: tuple[Sequence[Measurement], Sequence[Measurement]],
    cores: int,
    ceiling: Estimate | None,
) -> Row:
    """The summary of the runs of a case.

    Args:
        baselines: sequential runs of the first Python, and of the same one.
    """
    walls = [run.wall_s for run in runs]
    over_first, own = (
        ratio_of_medians(walls if runs is before else [run.wall_s for run in before], walls)
        for before in baselines
    )
    colds = [run.cold_s for run in runs]
    before = colds if runs is baselines[0] else [run.cold_s for run in baselines[0]]
    return Row(
        case=case,
        speedup=over_first,
        own=own,
        cold=ratio_of_medians(before, colds),
        efficiency=own.value / cores,
        of_ceiling=own.value / ceiling.value if ceiling else None,
        wall_s=tuple(walls),
        median_s=median(walls),
        cores_busy=median(run.cpu_s / run.wall_s for run in runs),
        account=None if case.is_simulated else account_of(runs, baselines[1]),
    )


def _ceilings(results: Results, kernel: str, python: str) -> dict[int, Estimate]:
    """By number of processes; one is its own ceiling."""
    by_count: dict[int, list[CeilingSample]] = {}
    for sample in results.ceilings:
        if (sample.kernel, sample.python) == (kernel, python):
            by_count.setdefault(sample.workers, []).append(sample)
    if not by_count:
        return {}
    return {1: Estimate(1.0, 1.0, 1.0)} | {
        count: ratio(
            [[sample.one_s for sample in samples]], [[sample.all_s for sample in samples]], count
        )
        for count, samples in sorted(by_count.items())
    }


def _fits(rows: Sequence[Row]) -> dict[str, Fits]:
    fits = {}
    for line in dict.fromkeys(row.case.line for row in rows if not row.case.is_simulated):
        walls = {row.case.workers: row.wall_s for row in rows if row.case.line == line}
        if (curves := fit(walls)) is not None:
            fits[line] = curves
    return fits
