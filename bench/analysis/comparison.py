"""Whether anything got faster or slower between two results files.

For each case, the time over that of its run's own sequential baseline is compared: a machine that
was slower throughout one of the runs slows down both, and so does a kernel that was calibrated a
little longer. The baselines are then the yardstick: their times are shown, not judged. Against the
clock, times per unit of work are compared.

The ratio's 95 % interval is an independent bootstrap of the ratio of the medians (see
`estimates.py`). With threshold t a case is::

    slower        the interval lies above 1, and the ratio above 1 + t
    faster        the interval lies below 1, and the ratio below 1 / (1 + t)
    same          the interval lies between 1 / (1 + t) and 1 + t
    inconclusive  anything else
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import BenchError
from bench.analysis.estimates import Estimate, ratio
from bench.analysis.summary import walls_of
from bench.machine.facts import SAME_MACHINE
from bench.results.case import Case
from bench.results.store import Results

FASTER, SLOWER, SAME, INCONCLUSIVE = "faster", "slower", "same", "inconclusive"
YARDSTICK = "yardstick"
RATIO, CLOCK = "baseline", "clock"  # compared: ratios to the baseline, or times
THRESHOLD = 0.05

OPTIONS = (
    "shapes",
    "kernel",
    "workflow",
    "scale",
    "backends",
    "max_workers",
    "blas_threads",
)


@dataclass(frozen=True, slots=True)
class Change:
    """A case in both files.

    Attributes:
        ratio: new over old, above 1 is slower; with its interval if there are enough samples.
    """

    case: Case
    ratio: Estimate
    verdict: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two results files, case by case.

    Attributes:
        against: "baseline" or "clock".
        differences: why the files are not comparable, if the comparison was forced.
        only_old, only_new: cases that the other file lacks.
    """

    against: str
    threshold: float
    changes: tuple[Change, ...]
    only_old: tuple[Case, ...]
    only_new: tuple[Case, ...]
    differences: tuple[str, ...]

    def of(self, verdict: str) -> list[Change]:
        return [change for change in self.changes if change.verdict == verdict]

    @property
    def finding(self) -> str:
        """One sentence."""
        counts = [
            f"{len(self.of(verdict))} {verdict}"
            for verdict in (SLOWER, FASTER, SAME, INCONCLUSIVE)
            if self.of(verdict)
        ]
        judged = len(self.changes) - len(self.of(YARDSTICK))
        return f"Of {judged} cases: " + (", ".join(counts) or "nothing to compare") + "."


def compare(
    old: Results,
    new: Results,
    threshold: float = THRESHOLD,
    against: str = RATIO,
    force: bool = False,
) -> Comparison:
    """Compares two results files.

    Args:
        threshold: smallest relative change that counts.
        against: "baseline": times over those of each run's own sequential baseline; "clock": times
            per unit of work.
        force: compare even if machines or configurations differ.

    Raises:
        BenchError: machines or configurations differ, or no case is in both files.
    """
    if not 0 < threshold < 1:
        raise BenchError(f"--threshold must be between 0 and 1, not {threshold:g}")
    differences = tuple(_differences(old, new))
    if differences and not force:
        raise BenchError(
            f"these runs are not comparable: {'; '.join(differences)};"
            " to compare them anyway, use --force"
        )
    before, after = walls_of(old.measurements), walls_of(new.measurements)
    common = [case for case in before if case in after]
    if not common:
        raise BenchError("no case is in both files, so there is nothing to compare")
    common.sort(key=lambda case: (case.shape, case.kernel, not case.is_baseline, str(case)))
    changes = []
    for case in common:
        change = _ratio(case, before, after, against, _units(old, case) / _units(new, case))
        is_yardstick = against == RATIO and case.is_baseline
        verdict = YARDSTICK if is_yardstick else verdict_on(change, threshold)
        changes.append(Change(case, change, verdict))
    return Comparison(
        against,
        threshold,
        tuple(changes),
        tuple(case for case in before if case not in after),
        tuple(case for case in after if case not in before),
        differences,
    )


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
        (
            other
            for other in before
            if other.is_baseline and (other.shape, other.kernel) == (case.shape, case.kernel)
        ),
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
        if before.get(name) != after.get(name):
            option = name.replace("_", "-")
            differences.append(
                f"--{option} was {_shown(before.get(name))}, now {_shown(after.get(name))}"
            )
    return differences


def _shown(value: object) -> object:
    return "the default" if value in (None, [], ()) else value
