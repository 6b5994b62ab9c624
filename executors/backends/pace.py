"""`Pace`: how many calls a worker should have at hand, from how long recent ones took."""

from __future__ import annotations

import math

COVER_S = 0.003  # work that a worker should have at hand
MOST_CALLS = 32  # at hand
PREFETCH_S = 0.02  # beyond, having the next call at hand saves nothing
TINY_S = 0.00002  # less than what a call costs the parent
REACTION_S = 0.0005  # from a worker's ring to the parent's answer, at worst
WORTH_S = 0.0002  # queued work that is worth taking to an idle worker at once
PATIENCE_S = 0.001
LEARNING = 0.2  # part of the newest duration in the mean


class Pace:
    """What the durations of a run's calls say about the next ones.

    Short calls are given in numbers, so that a worker need not wait for the parent, whose every
    wake-up costs 50 to 100 us. Of calls longer than PREFETCH_S, a worker has only the one that it
    runs. A wrong guess costs little, since queued calls can be taken back.
    """

    __slots__ = ("_mean_s",)

    def __init__(self) -> None:
        self._mean_s: float | None = None

    def learn(self, total_s: float, calls: int) -> None:
        """So many calls took so long together."""
        if self._mean_s is None:
            self._mean_s = total_s / calls
        else:
            self._mean_s += (1 - (1 - LEARNING) ** calls) * (total_s / calls - self._mean_s)

    @property
    def depth(self) -> int:
        """Calls that a worker should have, the running one included."""
        if self._mean_s is None:
            return 2
        if self._mean_s > PREFETCH_S:
            return 1
        return 1 + min(MOST_CALLS - 1, math.ceil(COVER_S / max(self._mean_s, 1e-9)))

    @property
    def is_tiny(self) -> bool:
        """Whether calls are so short that the parent is what all wait for."""
        return self._mean_s is not None and self._mean_s < TINY_S

    def ring_after(self, level: int) -> int:
        """After how many calls a worker that has so many should wake the parent.

        Early if they are tiny: then the parent should not even fall asleep. Else as late as
        possible, because a wake-up takes CPU from the workers.
        """
        if self.is_tiny:
            return max(1, level // 8)
        mean_s = self._mean_s or 0.0
        return max(1, level - (mean_s > REACTION_S))

    @property
    def patience_s(self) -> float:
        """A worker that is silent for longer is slow: what it has not begun is taken back."""
        return max(PATIENCE_S, (self.depth + 1) * (self._mean_s or 0.0))

    def is_worth_taking(self, queued: int) -> bool:
        """Whether an idle worker should get some of another one's queued calls at once."""
        return queued * (self._mean_s or 0.0) >= WORTH_S
