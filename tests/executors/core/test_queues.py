"""Which ready task may start: slots, contexts, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappush

from executors.core.graph import Task
from executors.core.queues import Queues


def task(name: str, slots: int = 1, context: Hashable = None) -> Task:
    return Task(name, print, slots=slots, context=context)


def ready(tasks: list[Task], workers: int) -> Queues:
    """All tasks are ready; their ranks are their places in the list."""
    queues = Queues(tasks, workers)
    for rank in range(len(tasks)):
        heappush(queues.heap_of[rank], rank)
    return queues


def start(queues: Queues) -> int | None:
    """The rank of the task that starts now, or None."""
    queue = queues.fitting()
    return None if queue is None else queues.occupy(queue)


def test_tasks_that_wait_for_nothing_share_one_heap() -> None:
    queues = Queues([task("a"), task("b")], workers=2)
    assert queues.only_heap is queues.heap_of[0] is queues.heap_of[1]
    same_context = Queues([task("a", context="x"), task("b", context="x")], workers=2)
    assert same_context.only_heap is same_context.heap_of[0] is same_context.heap_of[1]
    assert Queues([task("a", slots=2)], workers=2).only_heap is None
    assert Queues([task("a", context="x"), task("b")], workers=2).only_heap is None


def test_the_most_urgent_task_that_fits_starts() -> None:
    tasks = [task("one"), task("wide", slots=2), task("small")]
    queues = ready(tasks, workers=2)
    assert [start(queues), start(queues), start(queues)] == [0, 2, None]
    queues.vacate(tasks[0])
    assert start(queues) is None  # one slot is free, and wide needs two
    queues.vacate(tasks[2])
    assert start(queues) == 1


def test_more_slots_than_workers_are_all_of_them() -> None:
    tasks = [task("wide", slots=99), task("small")]
    queues = ready(tasks, workers=3)
    assert [start(queues), start(queues)] == [0, None]
    queues.vacate(tasks[0])
    assert start(queues) == 1


def test_different_contexts_never_overlap_and_none_fits_beside_any() -> None:
    tasks = [task("x0", context="x"), task("y", context="y"), task("n"), task("x1", context="x")]
    queues = ready(tasks, workers=9)
    assert [start(queues), start(queues), start(queues), start(queues)] == [0, 2, 3, None]
    queues.vacate(tasks[0])
    assert start(queues) is None  # x1 still runs
    queues.vacate(tasks[3])
    assert start(queues) == 1


def test_a_task_is_passed_as_often_as_there_are_workers_and_then_waited_for() -> None:
    """Two workers; wide needs both, and small tasks come one after the other."""
    tasks = [task("first"), task("wide", slots=2), *(task(f"small{i}") for i in range(9))]
    queues = ready(tasks, workers=2)
    assert start(queues) == 0
    passing = [start(queues)]
    queues.vacate(tasks[2])
    passing.append(start(queues))
    assert passing == [2, 3]
    queues.vacate(tasks[3])
    assert start(queues) is None  # two have passed: what runs drains
    queues.vacate(tasks[0])
    assert start(queues) == 1
    queues.vacate(tasks[1])
    assert start(queues) == 4
