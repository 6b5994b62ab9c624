"""What follows from the results: a summary per case, the pick of each group, a finding in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.analysis.answer import Answer, sentence
from bench.analysis.estimates import (
    Estimate,
    lower_bound,
    ratio,
    ratio_of_medians,
)
from bench.analysis.losses.account import account_of
from bench.analysis.losses.causes import Cause, causes_of
from bench.analysis.pythons import sharing
from bench.analysis.rows import Row as Row
from bench.analysis.rows import guess_of, is_decided, is_near, pick_of
from bench.analysis.scaling import Fits, fit
from bench.analysis.stacks import StackRow, stack_rows
from bench.analysis.steadiness import judge
from bench.machine.noise import UNUSABLE, Verdict
from bench.results.case import Case
from bench.results.store import CeilingSample, Measurement, Results
from bench.workloads.kernels import COMPUTES, KERNELS, Kernel
from bench.workloads.own_graphs import OWN_TASKS
from bench.workloads.payload import split


@dataclass(frozen=True, slots=True)
class Group:
    """All cases of one shape and kernel.

    Attributes:
        activity: what the tasks do, in words.
        tasks, depth: those of the graph, all of whose tasks have the same kernel.
        parallelism: work over span of a workflow, whose tasks differ in length; else None.
        pick: the case with the fewest workers that is reliably within 5 % of the fastest, or
            the fastest; the baseline if no case is reliably faster.
        guess: if the runs do not decide, the fewest workers within 5 % of the fastest case by
            their medians; else None.
        rival: of the other backends' cases that may be picked, the fewest workers within 5 % of the
            fastest, by their medians; or None.
        ceilings: joint speed of independent processes over that of one, by their number; of the
            first Python.
        fits: curves through the times of each backend, for captions.
        sharing: what it costs threads to share what the kernel's tasks share, in sentences.
        causes: why the best case of each backend is not faster, by case.
        stacks: what each stack costs, if these are ZenML stacks.
    """

    shape: str
    kernel: str
    activity: str
    tasks: int
    depth: int
    parallelism: float | None
    rows: tuple[Row, ...]
    pick: Row
    guess: Row | None
    rival: Row | None
    ceilings: dict[int, Estimate]
    fits: dict[str, Fits]
    causes: dict[Case, Cause]
    stacks: tuple[StackRow, ...] = ()
    sharing: tuple[str, ...] = ()

    @property
    def reference(self) -> Row:
        """What the speedups are measured against: it comes first."""
        return self.rows[0]

    @property
    def baseline(self) -> str:
        """Its name."""
        return self.reference.case.line

    @property
    def pythons(self) -> list[str]:
        """Those that are compared; none if there is only one."""
        return list(dict.fromkeys(row.case.python for row in self.rows if row.case.python))

    @property
    def name(self) -> str:
        """The shape and what its tasks do."""
        return self.shape if self.is_own else f"{self.shape}, {self.kernel}"

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own graph, whose tasks have no kernel."""
        return self.kernel == OWN_TASKS

    @property
    def answer(self) -> Answer:
        """What to run it on, and how sure that is."""
        row = self.guess or self.pick
        return Answer(
            self.shape,
            "" if self.is_own else self.kernel,
            self.activity,
            row.case.backend,
            row.case.workers,
            row.speedup,
            is_sure=self.guess is None,
            at_least=lower_bound(self.reference.wall_s, row.wall_s),
            python=row.case.python,
        )

    @property
    def measured(self) -> list[Row]:
        """The rows whose cases ran, without simulated ones."""
        return [row for row in self.rows if not row.case.is_simulated]

    def bound(self, workers: int | None = None) -> float:
        """The largest speedup that the graph allows; None: with unlimited workers.

        With equal tasks, p workers need at least max(ceil(tasks / p), depth) steps (Brent 1974),
        with others max(work / p, span) seconds.
        """
        if self.parallelism is not None:
            return min(self.parallelism, float("inf") if workers is None else workers)
        steps = self.depth if workers is None else max(-(-self.tasks // workers), self.depth)
        return self.tasks / steps


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


def finding_of(group: Group) -> str:
    """The pick of a shape and kernel, and its speedup, in words."""
    pick, rival = group.pick, group.rival
    if pick is group.reference:
        return f"no other case is reliably faster than {group.baseline}"
    interval = ""
    if pick.speedup.low is not None and pick.speedup.high is not None:
        interval = f" ({pick.speedup.low:.2f} to {pick.speedup.high:.2f})"
    workers = "" if pick.case.is_baseline else f" with {pick.case.workers} workers"
    where = f"{pick.case.name}{workers}" + (f" on {pick.case.python}" if pick.case.python else "")
    tie = ""
    if rival is not None and pick.speedup.has_interval and is_near(rival, pick):
        tie = f", and {rival.case.where} takes at most 5 % longer"
    return f"{where}: {pick.speedup.value:.2f} times as fast as {group.baseline}{interval}{tie}"
