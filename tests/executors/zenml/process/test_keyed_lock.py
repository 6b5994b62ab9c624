"""Who may use a thing of which there is only one."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import pytest

from executors.zenml.process.keyed_lock import Hold, HoldGivenUp, KeyedLock

WAIT_S = 10.0


class Waiter:
    """A thread that enters with a key; `entered` is set when it is in."""

    def __init__(self, lock: KeyedLock, key: Hashable) -> None:
        self.entered = threading.Event()
        self.given_up = threading.Event()
        self.blocks = threading.Event()
        self.gives_up = False
        self.hold: Hold | None = None
        self._lock = lock
        self._key = key
        self._thread = threading.Thread(target=self._enter)
        self._thread.start()

    def _enter(self) -> None:
        try:
            self.hold = self._lock.acquire(
                self._key, on_wait=self.blocks.set, gives_up=lambda: self.gives_up
            )
            self.entered.set()
        except HoldGivenUp:
            self.given_up.set()

    def join(self) -> None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@contextmanager
def blocked(lock: KeyedLock, key: Hashable) -> Iterator[Waiter]:
    waiter = Waiter(lock, key)
    assert waiter.blocks.wait(WAIT_S)
    assert not waiter.entered.is_set()
    yield waiter
    waiter.join()


def test_equal_keys_enter_together() -> None:
    lock = KeyedLock()
    lock.acquire("a")
    lock.acquire("a")


def test_another_key_enters_when_the_last_one_has_left() -> None:
    lock = KeyedLock()
    first, second = lock.acquire("a"), lock.acquire("a")
    with blocked(lock, "b") as waiter:
        first.release()
        assert not waiter.entered.wait(0.05)
        second.release()
        assert waiter.entered.wait(WAIT_S)


def test_newcomers_queue_up_behind_those_who_wait() -> None:
    lock = KeyedLock()
    first = lock.acquire("a")
    with blocked(lock, "b") as other, blocked(lock, "a") as same:
        first.release()
        assert other.entered.wait(WAIT_S)
        assert not same.entered.wait(0.05)
        assert other.hold is not None
        other.hold.release()
        assert same.entered.wait(WAIT_S)


def test_those_who_wait_with_equal_keys_enter_together() -> None:
    lock = KeyedLock()
    first = lock.acquire("a")
    with blocked(lock, "b") as one, blocked(lock, "b") as two:
        first.release()
        assert one.entered.wait(WAIT_S)
        assert two.entered.wait(WAIT_S)


def test_first_and_last_are_called_once_around_all_that_overlap() -> None:
    lock, calls = KeyedLock(), []

    def acquire(name: str) -> Hold:
        return lock.acquire(
            "a",
            on_first=lambda: calls.append(f"{name} first"),
            on_last=lambda: calls.append(f"{name} last"),
        )

    one, two = acquire("one"), acquire("two")
    one.release()
    assert calls == ["one first"]
    two.release()
    acquire("three").release()
    assert calls == ["one first", "one last", "three first", "three last"]


def test_leaving_twice_does_nothing() -> None:
    lock = KeyedLock()
    first = lock.acquire("a")
    lock.acquire("a")
    first.release()
    first.release()
    with blocked(lock, "b") as waiter:
        waiter.gives_up = True
        lock.wake()


def test_one_that_gives_up_lets_the_next_one_in() -> None:
    lock = KeyedLock()
    lock.acquire("a")
    with blocked(lock, "b") as waiter, blocked(lock, "a") as next_one:
        waiter.gives_up = True
        lock.wake()
        assert waiter.given_up.wait(WAIT_S)
        assert next_one.entered.wait(WAIT_S)


def test_a_failing_start_leaves_the_thing_free() -> None:
    lock = KeyedLock()

    def fail() -> None:
        raise OSError

    with pytest.raises(OSError):
        lock.acquire("a", on_first=fail)
    lock.acquire("b").release()
