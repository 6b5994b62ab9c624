"""Who may use a thing of which there is only one."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import pytest

from executors.zenml.turns import Turn, TurnGivenUp, Turns

WAIT_S = 10.0


class Waiter:
    """A thread that enters with a key; `entered` is set when it is in."""

    def __init__(self, turns: Turns, key: Hashable) -> None:
        self.entered = threading.Event()
        self.given_up = threading.Event()
        self.blocks = threading.Event()
        self.gives_up = False
        self.turn: Turn | None = None
        self._turns = turns
        self._key = key
        self._thread = threading.Thread(target=self._enter)
        self._thread.start()

    def _enter(self) -> None:
        try:
            self.turn = self._turns.enter(
                self._key, waits=self.blocks.set, gives_up=lambda: self.gives_up
            )
            self.entered.set()
        except TurnGivenUp:
            self.given_up.set()

    def join(self) -> None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@contextmanager
def blocked(turns: Turns, key: Hashable) -> Iterator[Waiter]:
    waiter = Waiter(turns, key)
    assert waiter.blocks.wait(WAIT_S)
    assert not waiter.entered.is_set()
    yield waiter
    waiter.join()


def test_equal_keys_enter_together() -> None:
    turns = Turns()
    turns.enter("a")
    turns.enter("a")


def test_another_key_enters_when_the_last_one_has_left() -> None:
    turns = Turns()
    first, second = turns.enter("a"), turns.enter("a")
    with blocked(turns, "b") as waiter:
        first.leave()
        assert not waiter.entered.wait(0.05)
        second.leave()
        assert waiter.entered.wait(WAIT_S)


def test_newcomers_queue_up_behind_those_who_wait() -> None:
    turns = Turns()
    first = turns.enter("a")
    with blocked(turns, "b") as other, blocked(turns, "a") as same:
        first.leave()
        assert other.entered.wait(WAIT_S)
        assert not same.entered.wait(0.05)
        assert other.turn is not None
        other.turn.leave()
        assert same.entered.wait(WAIT_S)


def test_those_who_wait_with_equal_keys_enter_together() -> None:
    turns = Turns()
    first = turns.enter("a")
    with blocked(turns, "b") as one, blocked(turns, "b") as two:
        first.leave()
        assert one.entered.wait(WAIT_S)
        assert two.entered.wait(WAIT_S)


def test_first_and_last_are_called_once_around_all_that_overlap() -> None:
    turns, calls = Turns(), []

    def enter(name: str) -> Turn:
        return turns.enter(
            "a",
            first=lambda: calls.append(f"{name} first"),
            last=lambda: calls.append(f"{name} last"),
        )

    one, two = enter("one"), enter("two")
    one.leave()
    assert calls == ["one first"]
    two.leave()
    enter("three").leave()
    assert calls == ["one first", "one last", "three first", "three last"]


def test_leaving_twice_does_nothing() -> None:
    turns = Turns()
    first = turns.enter("a")
    turns.enter("a")
    first.leave()
    first.leave()
    with blocked(turns, "b") as waiter:
        waiter.gives_up = True
        turns.wake()


def test_one_that_gives_up_lets_the_next_one_in() -> None:
    turns = Turns()
    turns.enter("a")
    with blocked(turns, "b") as waiter, blocked(turns, "a") as next_one:
        waiter.gives_up = True
        turns.wake()
        assert waiter.given_up.wait(WAIT_S)
        assert next_one.entered.wait(WAIT_S)


def test_a_failing_start_leaves_the_thing_free() -> None:
    turns = Turns()

    def fail() -> None:
        raise OSError

    with pytest.raises(OSError):
        turns.enter("a", first=fail)
    turns.enter("b").leave()
