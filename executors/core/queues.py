"""`Queues`: ready tasks, and which of them may start when they differ in slots and contexts.

Tasks with equal slots and context wait for the same thing, so they share a queue, and only its head
matters. Most graphs have a single queue, a plain heap, which the session uses directly.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from heapq import heappop

from executors.core.graph import Task


class Queue:
    """Ready tasks with equal slots and context, the most urgent on top."""

    __slots__ = ("context", "heap", "passed", "slots")

    def __init__(self, slots: int, context: Hashable) -> None:
        self.slots = slots
        self.context = context
        self.heap: list[int] = []
        self.passed = 0  # less urgent tasks that started since this queue's last start


class Queues:
    """The queues of one run, and the slots and the context that running tasks occupy.

    Args:
        ranked: the tasks by rank.
        workers: number of slots; a task with more occupies all of them.

    Attributes:
        heap_of: for each task, the heap in which it waits.
        only_heap: the single heap of a graph whose tasks all need one slot and have the same
            context, and so wait for neither; else None.
    """

    def __init__(self, ranked: Sequence[Task], workers: int) -> None:
        self._workers = workers
        self._free = workers  # slots
        self._context: Hashable = None  # that of the running tasks that have one
        self._in_context = 0  # the number of those tasks
        heap: list[int] = []
        self._queues: list[Queue] = []
        self.only_heap: list[int] | None = heap
        self.heap_of = [heap] * len(ranked)
        if all(task.slots == 1 and task.context is None for task in ranked):
            return
        queues: dict[tuple[int, Hashable], Queue] = {}
        for rank, task in enumerate(ranked):
            kind = (min(task.slots, workers), task.context)
            queue = queues.get(kind) or queues.setdefault(kind, Queue(*kind))
            self.heap_of[rank] = queue.heap
        self._queues = list(queues.values())
        if len(queues) > 1 or self._queues[0].slots > 1:
            self.only_heap = None
        else:
            self.only_heap = self._queues[0].heap

    def fitting(self) -> Queue | None:
        """The queue of the most urgent task that may start now, or None.

        Less urgent tasks that fit pass those that wait for slots or for their context. Once as
        many have passed the head of a queue as there are workers, nothing less urgent starts until
        it fits.
        """
        waiting = [queue for queue in self._queues if queue.heap]
        for queue in sorted(waiting, key=lambda queue: queue.heap[0]):
            context_is_free = (
                queue.context is None or not self._in_context or queue.context == self._context
            )
            if queue.slots <= self._free and context_is_free:
                return queue
            if queue.passed >= self._workers:
                return None
        return None

    def occupy(self, queue: Queue) -> int:
        """Takes the head of a queue, with its slots and context."""
        rank = heappop(queue.heap)
        queue.passed = 0
        for other in self._queues:
            if other.heap and other.heap[0] < rank:
                other.passed += 1
        self._free -= queue.slots
        if queue.context is not None:
            self._context = queue.context
            self._in_context += 1
        return rank

    def vacate(self, task: Task) -> None:
        """Gives back the slots and the context of a task that ended."""
        self._free += min(task.slots, self._workers)
        if task.context is not None:
            self._in_context -= 1
