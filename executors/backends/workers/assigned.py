"""`Assigned`: the calls that a worker process has, as its parent knows them.

The one owner of a worker's state during a run: others read it, and only these methods change what
belongs together. State::

    calls       by number, in the order in which the worker makes them; the first one is running,
                or will be as soon as the worker takes its ticket
    following   numbers of the calls that wait for the one before them (see `Session.follow`)
    leader      number of the last call if another one may follow it, else 0
    begun       the first of the calls, since `begun_s`, as far as the session knows
    reported_s  when the worker last reported, or was assigned a call while it had none
    is_slow     it has not reported for so long that nothing is assigned until it does
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

from executors.core.records import Call


class Assigned:
    """The calls that were assigned to one worker and have not ended."""

    __slots__ = (
        "_following",
        "_without_wakeup",
        "begun",
        "begun_s",
        "calls",
        "is_slow",
        "last",
        "leader",
        "reported_s",
    )

    def __init__(self) -> None:
        self.calls: dict[int, Call] = {}
        self._following: set[int] = set()
        self.leader = 0
        self._without_wakeup = 0  # calls since the last one after which the worker wakes its parent
        self.last = 0  # number of the call that was assigned last; numbers rise
        self.begun: Call | None = None
        self.begun_s = self.reported_s = monotonic()
        self.is_slow = False

    @property
    def queued(self) -> int:
        """Number of calls that could be taken back; -1 if the worker has none at all."""
        return len(self.calls) - len(self._following) - 1

    def has_room(self, depth: int) -> bool:
        """Whether the worker should get calls until it has `depth` of them."""
        return not self.is_slow and len(self.calls) <= depth // 2

    @property
    def leading(self) -> Call | None:
        """The last call, if another one may follow it."""
        return self.calls.get(self.leader)

    def reserve(self, wakeup_after: int) -> tuple[int, bool]:
        """The number of the next call, and whether the worker wakes its parent after it.

        Args:
            wakeup_after: the number of calls after which it does.
        """
        self.last += 1
        self._without_wakeup += 1
        if self._without_wakeup < wakeup_after:
            return self.last, False
        self._without_wakeup = 0
        return self.last, True

    def add(self, number: int, call: Call, leads: bool, follows: bool, now_s: float) -> None:
        """Adds a call behind all others.

        Args:
            leads: another call may follow it.
            follows: it waits for the call before it.
        """
        self.leader = number if leads else 0
        if follows:
            self._following.add(number)
        if not self.calls:
            self.reported_s = now_s
        self.calls[number] = call

    def drop(self, number: int) -> Call | None:
        """Removes a call, if it is there."""
        if self._following:
            self._following.discard(number)
        return self.calls.pop(number, None)

    def drop_followers(self, call: Call) -> Iterator[Call]:
        """Removes the calls that follow a call that did not succeed, one after the other."""
        for number in sorted(self._following):
            follower = self.calls[number]
            if follower.needs == (call.rank,):
                self.drop(number)
                yield follower
                call = follower

    def newly_begun(self, now_s: float) -> Call | None:
        """The call that the worker is running, if it was not known to have begun; else None."""
        for number, call in self.calls.items():
            if call is self.begun:
                return None
            self.begun, self.begun_s = call, now_s
            self._following.discard(number)
            return call
        self.begun = None
        return None

    def reported(self, now_s: float) -> None:
        """The worker has reported, so it is not slow."""
        self.reported_s = now_s
        self.is_slow = False

    def clear(self) -> Call | None:
        """Forgets all calls of a worker that has ended; returns the one that it was at."""
        begun, self.begun = self.begun, None
        self.calls.clear()
        self._following.clear()
        return begun
