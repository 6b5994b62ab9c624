"""Whether anything got faster or slower between two results files.

For each case, the time over that of its run's own sequential baseline is compared: a machine that
was slower throughout one of the runs slows down both, and so does a kernel that was calibrated a
little longer. The baselines are then the yardstick: their times are shown, not judged. Against the
clock, times per unit of work are compared. The user's own graphs are, unless something else is
asked for: a change in their code changes the baseline as well.

The ratio's 95 % interval is an independent bootstrap of the ratio of the medians (see
`estimates.py`). With threshold t a case is::

    slower        the interval lies above 1, and the ratio above 1 + t
    faster        the interval lies below 1, and the ratio below 1 / (1 + t)
    same          the interval lies between 1 / (1 + t) and 1 + t
    inconclusive  anything else, and everything if one of the runs is unusable
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import BenchError
from bench.analysis.estimates import Estimate, ratio
from bench.analysis.steadiness import judge
from bench.analysis.summary import walls_of
from bench.machine.facts import SAME_MACHINE
from bench.machine.noise import UNUSABLE, Verdict
from bench.results.case import Case
from bench.results.store import Results
from bench.workloads.own_graphs import OWN_TASKS

FASTER, SLOWER, SAME, INCONCLUSIVE = "faster", "slower", "same", "inconclusive"
YARDSTICK = "yardstick"
WHAT = {  # the ratios are of, by `Comparison.against`
    "baseline": "time relative to sequential (of the yardstick: the time)",
    "clock": "time per unit of work",
    "baseline and clock": "time relative to sequential or, for your own graphs, of the time",
}
RATIO, CLOCK = "baseline", "clock"  # compared: ratios to the baseline, or times
THRESHOLD = 0.05

OPTIONS = (
    "workflow",
    "scale",
    "blas_threads",
    "backend_option",
)  # what cases of the same name depend on


@dataclass(frozen=True, slots=True)
class Change:
    """A case in both files.

    Attributes:
        old_s, new_s: the wall times of its runs.
        against: what the ratio is of, "baseline" or "clock".
        ratio: new over old, above 1 is slower; with its interval if there are enough samples.
    """

    case: Case
    old_s: tuple[float, ...]
    new_s: tuple[float, ...]
    against: str
    ratio: Estimate
    verdict: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two results files, case by case.

    Attributes:
        verdicts: on the machine, during the old and the new run.
        differences: why the files are not comparable, if the comparison was forced.
        only_old, only_new: cases that the other file lacks.
    """

    threshold: float
    verdicts: tuple[Verdict, Verdict]
    changes: tuple[Change, ...]
    only_old: tuple[Case, ...]
    only_new: tuple[Case, ...]
    differences: tuple[str, ...]

    def of(self, verdict: str) -> list[Change]:
        return [change for change in self.changes if change.verdict == verdict]

    @property
    def against(self) -> str:
        """What the ratios are of: "baseline", "clock", or "baseline and clock"."""
        return " and ".join(sorted({change.against for change in self.changes}))

    @property
    def what(self) -> str:
        """What the ratios are of, in words."""
        if all(change.case.kernel == OWN_TASKS for change in self.changes):
            return "time" if self.against == CLOCK else WHAT[self.against]
        return WHAT[self.against]

    @property
    def is_usable(self) -> bool:
        """Whether neither run was unusable."""
        return all(verdict.level != UNUSABLE for verdict in self.verdicts)

    @property
    def judged(self) -> list[Change]:
        """All but the yardsticks."""
        return [change for change in self.changes if change.verdict != YARDSTICK]

    @property
    def is_decided(self) -> bool:
        """Whether anything can be said of at least one case."""
        return any(change.verdict != INCONCLUSIVE for change in self.judged)

    @property
    def finding(self) -> str:
        """One sentence."""
        counts = [
            f"{len(self.of(verdict))} {verdict}"
            for verdict in (SLOWER, FASTER, SAME, INCONCLUSIVE)
            if self.of(verdict)
        ]
        if not self.judged:
            return "Only sequential runs are in both files, so there is nothing to compare."
        if not self.is_usable:
            runs = zip(("old", "new"), self.verdicts, strict=True)
            which = " and the ".join(name for name, one in runs if one.level == UNUSABLE)
            are = "runs are" if " and " in which else "run is"
            return f"Cannot tell: the {which} {are} unusable, so every case is inconclusive."
        return f"Of {len(self.judged)} case{'s' * (len(self.judged) > 1)}: {', '.join(counts)}."


def compare(
    old: Results,
    new: Results,
    threshold: float = THRESHOLD,
    against: str | None = None,
    force: bool = False,
) -> Comparison:
    """Compares two results files.

    Args:
        threshold: smallest relative change that counts.
        against: "baseline": times over those of each run's own sequential baseline; "clock": times
            per unit of work; None: clock for the user's own graphs, baseline for others.
        force: compare even if machines or configurations differ.

    Raises:
        BenchError: machines or configurations differ, or no case is in both files.
    """
    if not 0 < threshold < 1:
        raise BenchError(f"--threshold must be between 0 and 1, not {threshold:g}")
    before, after = walls_of(old.measurements), walls_of(new.measurements)
    common = [case for case in before if case in after]
    if not common:
        raise BenchError("no case is in both files, so there is nothing to compare")
    differences = tuple(_differences(old, new))
    if differences and not force:
        raise BenchError(
            f"these runs are not comparable: {'; '.join(differences)};"
            " to compare them anyway, use --force"
        )
    common.sort(key=_place)
    verdicts = judge(old), judge(new)
    is_usable = UNUSABLE not in (verdict.level for verdict in verdicts)
    changes = []
    for case in common:
        own_against = against or (CLOCK if case.kernel == OWN_TASKS else RATIO)
        ratio = _ratio(case, before, after, own_against, _units(old, case) / _units(new, case))
        verdict = verdict_on(ratio, threshold) if is_usable else INCONCLUSIVE
        if own_against == RATIO and case.is_baseline:
            verdict = YARDSTICK
        walls = tuple(before[case]), tuple(after[case])
        changes.append(Change(case, *walls, own_against, ratio, verdict))
    return Comparison(
        threshold,
        verdicts,
        tuple(changes),
        tuple(sorted((case for case in before if case not in after), key=_place)),
        tuple(sorted((case for case in after if case not in before), key=_place)),
        differences,
    )


def _place(case: Case) -> tuple[str, str, str, bool, str, int]:
    """The place of a case in a list."""
    where = not case.is_baseline, case.backend, case.workers
    return case.shape, case.kernel, case.python, *where


def verdict_on(ratio: Estimate, threshold: float) -> str:
    """The verdict on a ratio of new over old."""
    if ratio.low is None or ratio.high is None:
        return INCONCLUSIVE
    if ratio.low > 1 and ratio.value > 1 + threshold:
        return SLOWER
    if ratio.high < 1 and ratio.value < 1 / (1 + threshold):
        return FASTER
    if ratio.low >= 1 / (1 + threshold) and ratio.high <= 1 + threshold:
        return SAME
    return INCONCLUSIVE


Walls = Mapping[Case, Sequence[float]]


def _ratio(case: Case, before: Walls, after: Walls, against: str, units: float) -> Estimate:
    if against == CLOCK or case.is_baseline:
        return ratio([after[case]], [before[case]], units)
    baseline = next(
        (other for other in before if other == case.baseline),
        None,
    )
    if baseline is None or baseline not in after:
        raise BenchError(f"{case} has no baseline in both files; use --against clock")
    return ratio([after[case], before[baseline]], [before[case], after[baseline]])


def _units(results: Results, case: Case) -> float:
    """Units of work per task; 1 if it has none."""
    return float(results.header["kernels"][case.kernel]["units"]) or 1.0


def _differences(old: Results, new: Results) -> list[str]:
    differences = []
    for name in SAME_MACHINE:
        before, after = old.header["machine"][name], new.header["machine"][name]
        if before != after:
            differences.append(f"{name} was {before} and is {after}")
    before, after = (results.header["config"]["options"] for results in (old, new))
    for name in OPTIONS:
        if (before.get(name) or None) != (after.get(name) or None):
            option = name.replace("_", "-")
            differences.append(
                f"--{option} was {_shown(before.get(name))}, now {_shown(after.get(name))}"
            )
    return differences


def _shown(value: object) -> object:
    return "the default" if value in (None, [], ()) else value
