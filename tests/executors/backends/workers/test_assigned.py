"""What the parent knows of one worker's calls."""

from __future__ import annotations

from itertools import pairwise

import pytest

from executors import Graph, Task
from executors.backends.workers.assigned import Assigned
from executors.core.records import Call
from executors.core.session import Session


@pytest.fixture
def calls() -> list[Call]:
    """Calls of a chain, the first of which was taken and the others follow it."""
    tasks = [Task("a", print), *(Task(b, print, (a,)) for a, b in pairwise("abcd"))]
    session = Session(Graph(tasks))
    chain = [session.take(0.0)]
    while chain[-1] is not None:
        chain.append(session.follow(chain[-1], 0.0))
    return [call for call in chain if call is not None]


def add(assigned: Assigned, call: Call, *, leads: bool = False, follows: bool = False) -> int:
    number, _ = assigned.reserve(wakeup_after=1)
    assigned.add(number, call, leads, follows, float(number))
    return number


def test_the_first_call_is_the_running_one_and_begins_once(calls: list[Call]) -> None:
    assigned = Assigned()
    first, second = (add(assigned, call) for call in calls[:2])
    assert assigned.newly_begun(5.0) is calls[0]
    assert (assigned.begun, assigned.begun_s) == (calls[0], 5.0)
    assert assigned.newly_begun(6.0) is None
    assert assigned.begun_s == 5.0
    assert assigned.drop(first) is calls[0]
    assert assigned.drop(first) is None
    assert assigned.newly_begun(7.0) is calls[1]
    assert assigned.drop(second) is calls[1]
    assert assigned.newly_begun(8.0) is None
    assert assigned.begun is None


def test_only_calls_that_wait_for_no_other_can_be_taken_back(calls: list[Call]) -> None:
    assigned = Assigned()
    assert assigned.queued == -1
    add(assigned, calls[0], leads=True)
    assert assigned.queued == 0
    add(assigned, calls[1], follows=True, leads=True)
    assert assigned.queued == 0
    add(assigned, calls[3])
    assert assigned.queued == 1


def test_the_leading_call_is_the_last_one_if_another_may_follow(calls: list[Call]) -> None:
    assigned = Assigned()
    first = add(assigned, calls[0], leads=True)
    assert (assigned.leader, assigned.leading) == (first, calls[0])
    assigned.drop(first)
    assert assigned.leading is None  # it has ended: what follows is no longer for its worker alone
    add(assigned, calls[1])
    assert (assigned.leader, assigned.leading) == (0, None)


def test_followers_go_with_the_call_that_they_follow(calls: list[Call]) -> None:
    assigned = Assigned()
    numbers = [add(assigned, calls[0], leads=True)]
    numbers += [add(assigned, call, leads=True, follows=True) for call in calls[1:]]
    lost = assigned.drop(numbers[1])
    assert lost is calls[1]
    assert list(assigned.drop_followers(lost)) == calls[2:]
    assert len(assigned.calls) == 1
    assert assigned.queued == 0


def test_a_worker_wakes_its_parent_after_so_many_calls() -> None:
    assigned = Assigned()
    assert [assigned.reserve(wakeup_after=3) for _ in range(4)] == [
        (1, False),
        (2, False),
        (3, True),
        (4, False),
    ]


def test_a_worker_has_room_until_half_of_its_calls_are_there_and_if_it_is_not_slow(
    calls: list[Call],
) -> None:
    assigned = Assigned()
    assert assigned.has_room(1)
    add(assigned, calls[0])
    assert not assigned.has_room(1)
    assert assigned.has_room(2)
    assigned.is_slow = True
    assert not assigned.has_room(2)


def test_silence_counts_from_the_last_report_or_the_first_call(calls: list[Call]) -> None:
    assigned = Assigned()
    add(assigned, calls[0])
    assert assigned.reported_s == 1.0
    add(assigned, calls[1])
    assert assigned.reported_s == 1.0
    assigned.is_slow = True
    assigned.reported(9.0)
    assert (assigned.reported_s, assigned.is_slow) == (9.0, False)


def test_a_worker_that_ended_has_no_calls(calls: list[Call]) -> None:
    assigned = Assigned()
    add(assigned, calls[0])
    assigned.newly_begun(1.0)
    assert assigned.clear() is calls[0]
    assert (len(assigned.calls), assigned.begun, assigned.queued) == (0, None, -1)
    assert assigned.clear() is None
