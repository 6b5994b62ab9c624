"""`Pace`: how many calls a worker should have, judging by the length of recent ones."""

from __future__ import annotations

import math

COVER_S = 0.003  # work that a worker should have
MOST_CALLS = 32  # per worker
PREFETCH_S = 0.02  # for longer calls, sending the next one ahead saves nothing
TINY_S = 0.00002  # less than the parent's own time per call
REACTION_S = 0.0005  # from a worker's wake-up to the parent's answer, at worst
WORTH_S = 0.0002  # queued work that is worth moving to an idle worker immediately
PATIENCE_S = 0.001
UNRESPONSIVE_S = 5.0  # a worker that has begun nothing for so long is replaced
LEARNING = 0.2  # weight of the newest duration in the mean


class Pace:
    """Estimates the length of a run's next calls from that of recent ones.

    A worker gets many short calls together, so that it need not wait for the parent: each wake-up
    of the parent takes 50 to 100 us. Of calls longer than PREFETCH_S, it has only the one that it
    runs. A wrong estimate does little harm, because queued calls can be taken back.
    """

    __slots__ = ("_mean_s",)

    def __init__(self) -> None:
        self._mean_s: float | None = None

    def learn(self, total_s: float, calls: int) -> None:
        """Takes in the total time of a number of calls."""
        if self._mean_s is None:
            self._mean_s = total_s / calls
        else:
            self._mean_s += (1 - (1 - LEARNING) ** calls) * (total_s / calls - self._mean_s)

    @property
    def depth(self) -> int:
        """Number of calls that a worker should have, including the running one."""
        if self._mean_s is None:
            return 2
        if self._mean_s > PREFETCH_S:
            return 1
        return 1 + min(MOST_CALLS - 1, math.ceil(COVER_S / max(self._mean_s, 1e-9)))

    @property
    def is_tiny(self) -> bool:
        """Whether calls are so short that the parent is the bottleneck."""
        return self._mean_s is not None and self._mean_s < TINY_S

    def wakeup_after(self, level: int) -> int:
        """After how many calls a worker that has `level` of them should wake the parent.

        Early if calls are tiny, so that the parent does not even fall asleep; else as late as
        possible, because a wake-up takes CPU time from the workers.
        """
        if self.is_tiny:
            return max(1, level // 8)
        mean_s = self._mean_s or 0.0
        return max(1, level - (mean_s > REACTION_S))

    @property
    def patience_s(self) -> float:
        """A worker that is silent for longer is slow, and its queued calls are taken back."""
        return max(PATIENCE_S, (self.depth + 1) * (self._mean_s or 0.0))

    def is_worth_taking(self, queued: int) -> bool:
        """Whether queued calls should move to an idle worker immediately."""
        return queued * (self._mean_s or 0.0) >= WORTH_S
