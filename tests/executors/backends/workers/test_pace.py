"""How many calls a worker gets, from how long they took."""

from __future__ import annotations

import pytest

from executors.backends.workers.pace import COVER_S, MOST_CALLS, PATIENCE_S, Pace


def paced(*durations_s: float) -> Pace:
    pace = Pace()
    for duration_s in durations_s:
        pace.learn(duration_s, 1)
    return pace


def test_nothing_is_known_at_first() -> None:
    assert Pace().depth == 2
    assert not Pace().is_worth_taking(10)


@pytest.mark.parametrize(
    ("duration_s", "depth"),
    [(0.0, MOST_CALLS), (1e-6, MOST_CALLS), (0.001, 4), (0.01, 2), (0.1, 1)],
)
def test_the_shorter_calls_are_the_more_of_them_a_worker_has(duration_s: float, depth: int) -> None:
    assert paced(duration_s).depth == depth


def test_work_at_hand_covers_the_parents_reaction() -> None:
    for duration_s in (0.0002, 0.0005, 0.001):
        assert COVER_S <= (paced(duration_s).depth - 1) * duration_s <= 2 * COVER_S


def test_it_follows_what_changes() -> None:
    pace = paced(*[1e-6] * 50)
    for _ in range(20):
        pace.learn(0.1, 1)
    assert pace.depth == 1
    pace.learn(50 * 1e-6, 50)
    assert pace.depth > 8


def test_many_at_once_teach_as_much_as_one_by_one() -> None:
    alone, together = paced(0.001), paced(0.001)
    for _ in range(5):
        alone.learn(0.002, 1)
    together.learn(5 * 0.002, 5)
    assert alone.patience_s == pytest.approx(together.patience_s)


def test_patience_is_several_calls_but_never_endless_for_short_ones() -> None:
    assert paced(1e-6).patience_s == PATIENCE_S
    assert paced(0.01).patience_s == pytest.approx(0.03)
    assert paced(0.001).patience_s == pytest.approx(0.005)


def test_a_worker_rings_early_in_tiny_calls_and_as_late_as_possible_in_others() -> None:
    assert paced(1e-6).wakeup_after(32) == 4
    assert paced(1e-6).wakeup_after(4) == 1
    assert paced(0.0001).wakeup_after(8) == 8
    assert paced(0.001).wakeup_after(4) == 3
    assert paced(0.01).wakeup_after(2) == paced(0.1).wakeup_after(1) == Pace().wakeup_after(1) == 1


def test_only_queued_work_that_takes_long_is_worth_taking() -> None:
    assert not paced(1e-6).is_worth_taking(10)
    assert paced(0.001).is_worth_taking(1)
    assert not paced(0.001).is_worth_taking(0)
