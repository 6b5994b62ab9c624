"""`Turns`: who may use a thing of which the process has only one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable


def nothing() -> None:
    """Does nothing."""


def never() -> bool:
    """False."""
    return False


class TurnGivenUp(Exception):
    """The caller of `enter` gave up waiting."""


class Turns:
    """Holders of equal keys use the thing together, those of different keys one after another.

    First come, first served: while somebody waits, newcomers queue up behind, also those with the
    key in use, so nobody waits forever.

    State, guarded by one condition::

        holders   the turns in use; all have the same key
        waiting   turns in the order in which they came
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders: list[Turn] = []
        self._waiting: deque[Turn] = deque()

    def enter(
        self,
        key: Hashable,
        *,
        first: Callable[[], object] = nothing,
        last: Callable[[], object] = nothing,
        waits: Callable[[], None] = nothing,
        gives_up: Callable[[], bool] = never,
    ) -> Turn:
        """Returns when the thing may be used with this key; blocks until then.

        Args:
            key: compared with `==`.
            first: called when the thing was free before; must not block, as others wait.
            last: called when it is free again, if `first` was; must not block either.
            waits: called once before blocking.
            gives_up: asked while waiting, after each `wake()`.

        Raises:
            TurnGivenUp: `gives_up` returned True.
        """
        turn = Turn(self, key, first, last)
        try:
            with self._changed:
                self._waiting.append(turn)
                if self._admits(turn):
                    return turn
            waits()
            with self._changed:
                while not self._admits(turn):
                    if gives_up():
                        raise TurnGivenUp
                    self._changed.wait()
            return turn
        except BaseException:  # Ctrl-C too, also when the turn was just given
            self._leave(turn)
            raise

    def wake(self) -> None:
        """Makes those who wait ask `gives_up` again."""
        with self._changed:
            self._changed.notify_all()

    def _admits(self, turn: Turn) -> bool:
        if self._waiting[0] is not turn:
            return False
        if self._holders and self._holders[0].key != turn.key:
            return False
        self._waiting.popleft()
        if self._holders:
            turn.last = self._holders[0].last
        else:
            turn.first()
        self._holders.append(turn)
        self._changed.notify_all()  # the next one may have the same key
        return True

    def _leave(self, turn: Turn) -> None:
        with self._changed:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if turn in self._holders:
                self._holders.remove(turn)
                if not self._holders:
                    turn.last()
            self._changed.notify_all()


class Turn:
    """One use of the thing, until it is left; leaving twice does nothing."""

    def __init__(
        self,
        turns: Turns,
        key: Hashable,
        first: Callable[[], object],
        last: Callable[[], object],
    ) -> None:
        self.key = key
        self.first = first
        self.last = last
        self._turns = turns

    def leave(self) -> None:
        self._turns._leave(self)

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
