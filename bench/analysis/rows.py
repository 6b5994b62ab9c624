"""The summary of each case, and which of several cases to pick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.estimates import (
    INDIFFERENCE,
    LARGEST_REGRET,
    MIN_SAMPLES,
    Estimate,
    ratio_of_medians,
)
from bench.analysis.losses.account import Account
from bench.results.case import Case


@dataclass(frozen=True, slots=True)
class Row:
    """The summary of one case.

    Attributes:
        speedup: against the baseline of the same shape and kernel, both warm. If there are several
            Pythons, against that of the first.
        own: against the baseline of its own Python.
        cold: like `speedup`, including the start of the pool.
        efficiency: `own` over the cores that it could use or, if tasks wait, over its workers.
        of_ceiling: `own` over that of as many independent processes as cores, or None.
        wall_s: all samples, in the order in which they were measured.
        account: where the time of its workers went, or None.
    """

    case: Case
    speedup: Estimate
    own: Estimate
    cold: Estimate
    efficiency: float
    of_ceiling: float | None
    wall_s: tuple[float, ...]
    median_s: float
    cores_busy: float
    account: Account | None = None

    @property
    def can_be_picked(self) -> bool:
        """False for what did not run, and for a pool of one worker: it cannot be faster."""
        case = self.case
        return not case.is_simulated and (case.is_baseline or case.is_stack or case.workers > 1)

    @property
    def utilisation(self) -> float:
        """CPU time over workers x wall."""
        return self.cores_busy / self.case.workers


def pick_of(rows: Sequence[Row]) -> Row:
    """The fewest workers that are reliably faster than sequential and reliably near the best."""
    faster = [row for row in rows if row.can_be_picked and _sure(row.speedup) > 1]
    if not faster:
        return next(row for row in rows if row.case.is_baseline)
    best = min(faster, key=lambda row: row.median_s)
    near = [row for row in faster if row is best or is_near(row, best)]
    return min(near, key=lambda row: (row.case.workers, row.median_s))


def is_decided(pick: Row, eligible: Sequence[Row]) -> bool:
    """Whether no other case may be much faster than the pick, by the intervals.

    Nothing is decided with too few samples of any of them. If the pick is sequential, no case may
    be more than 5 % faster, else none more than a fifth.
    """
    if any(len(row.wall_s) < MIN_SAMPLES for row in eligible):
        return False
    allowed = 1 + (INDIFFERENCE if pick.case.is_baseline else LARGEST_REGRET)
    return all(
        row is pick
        or max(pick.wall_s) <= allowed * min(row.wall_s)  # spares most bootstraps
        or _most(ratio_of_medians(pick.wall_s, row.wall_s)) <= allowed
        for row in eligible
    )


def guess_of(eligible: Sequence[Row]) -> Row:
    """The fewest workers within 5 % of the fastest case, by their medians."""
    best_s = min(row.median_s for row in eligible)
    near = [row for row in eligible if row.median_s <= best_s * (1 + INDIFFERENCE)]
    return min(near, key=lambda row: (row.case.workers, row.median_s))


def is_near(row: Row, other: Row) -> bool:
    """Whether a case reliably takes at most 5 % longer than another."""
    return _most(ratio_of_medians(row.wall_s, other.wall_s)) <= 1 + INDIFFERENCE


def _sure(speedup: Estimate) -> float:
    """The lower end of the interval; without an interval, the speedup divided by 1.05."""
    return speedup.value / (1 + INDIFFERENCE) if speedup.low is None else speedup.low


def _most(estimate: Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high
