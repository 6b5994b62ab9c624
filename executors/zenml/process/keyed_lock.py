"""`KeyedLock`: a lock for something of which the process has only one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable


def nothing() -> None:
    """Does nothing."""


def never() -> bool:
    """False."""
    return False


class HoldGivenUp(Exception):
    """The caller of `acquire` gave up waiting."""


class KeyedLock:
    """Holders with equal keys share the lock; those with different keys hold it in turn.

    First come, first served: while a hold is waiting, newcomers queue up behind it, also those
    with the key in use, so none waits forever.

    State, guarded by one condition::

        holders   the current holds; all have the same key
        waiting   the waiting holds, in the order of their arrival
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders: list[Hold] = []
        self._waiting: deque[Hold] = deque()

    def acquire(
        self,
        key: Hashable,
        *,
        on_first: Callable[[], object] = nothing,
        on_last: Callable[[], object] = nothing,
        on_wait: Callable[[], None] = nothing,
        gives_up: Callable[[], bool] = never,
    ) -> Hold:
        """Blocks until the lock may be held with this key.

        Args:
            key: compared with `==`.
            on_first: called if the lock was free; must not block, because others wait.
            on_last: called when the lock becomes free again, if `on_first` was called; must not
                block either.
            on_wait: called once before blocking.
            gives_up: checked while waiting, after each `wake()`.

        Raises:
            HoldGivenUp: `gives_up` returned True.
        """
        hold = Hold(self, key, on_first, on_last)
        try:
            with self._changed:
                self._waiting.append(hold)
                if self._admits(hold):
                    return hold
            on_wait()
            with self._changed:
                while not self._admits(hold):
                    if gives_up():
                        raise HoldGivenUp
                    self._changed.wait()
            return hold
        except BaseException:  # also Ctrl-C just after the hold was admitted
            self._release(hold)
            raise

    def wake(self) -> None:
        """Makes the callers that wait check `gives_up` again."""
        with self._changed:
            self._changed.notify_all()

    def _admits(self, hold: Hold) -> bool:
        if self._waiting[0] is not hold:
            return False
        if self._holders and self._holders[0].key != hold.key:
            return False
        self._waiting.popleft()
        if self._holders:
            hold.on_last = self._holders[0].on_last
        else:
            hold.on_first()
        self._holders.append(hold)
        self._changed.notify_all()  # the next one may have the same key
        return True

    def _release(self, hold: Hold) -> None:
        with self._changed:
            if hold in self._waiting:
                self._waiting.remove(hold)
            if hold in self._holders:
                self._holders.remove(hold)
                if not self._holders:
                    hold.on_last()
            self._changed.notify_all()


class Hold:
    """One holder of the lock, until it is released; a second release does nothing."""

    def __init__(
        self,
        lock: KeyedLock,
        key: Hashable,
        on_first: Callable[[], object],
        on_last: Callable[[], object],
    ) -> None:
        self.key = key
        self.on_first = on_first
        self.on_last = on_last
        self._lock = lock

    def release(self) -> None:
        self._lock._release(self)

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
