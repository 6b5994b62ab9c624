"""`Queues`: ready tasks, and who of them may start when they differ in slots and lanes.

Tasks that are alike in slots and lane wait for the same, so they share a queue, and only its head
matters. Most graphs have a single queue, a plain heap, which the session uses directly.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from heapq import heappop

from executors.graph import Task


class Queue:
    """Ready tasks that are alike in slots and lane, the most urgent on top."""

    __slots__ = ("heap", "lane", "passed", "slots")

    def __init__(self, slots: int, lane: Hashable) -> None:
        self.slots = slots
        self.lane = lane
        self.heap: list[int] = []
        self.passed = 0  # less urgent tasks that started since this queue's last start


class Queues:
    """The queues of one run, and the slots and the lane that running tasks occupy.

    Args:
        ranked: the tasks by rank.
        workers: how many slots there are; a task with more occupies all of them.

    Attributes:
        heap_of: for each task, the heap that it waits in.
        only_heap: the single heap of a graph whose tasks all need one slot and share a lane, which
            have nothing to wait for; else None.
    """

    def __init__(self, ranked: Sequence[Task], workers: int) -> None:
        self._workers = workers
        self._free = workers  # slots
        self._lane: Hashable = None  # the lane of the running tasks that have one
        self._in_lane = 0  # how many those are
        heap: list[int] = []
        self._queues: list[Queue] = []
        self.only_heap: list[int] | None = heap
        self.heap_of = [heap] * len(ranked)
        if all(task.slots == 1 and task.lane is None for task in ranked):
            return
        queues: dict[tuple[int, Hashable], Queue] = {}
        for rank, task in enumerate(ranked):
            kind = (min(task.slots, workers), task.lane)
            queue = queues.get(kind) or queues.setdefault(kind, Queue(*kind))
            self.heap_of[rank] = queue.heap
        self._queues = list(queues.values())
        if len(queues) > 1 or self._queues[0].slots > 1:
            self.only_heap = None
        else:
            self.only_heap = self._queues[0].heap

    def fitting(self) -> Queue | None:
        """The queue of the most urgent task that may start now, or None.

        Tasks that wait for slots or for their lane are passed by less urgent ones that fit,
        but between two starts from a queue by at most as many as there are workers: then what
        runs drains until its head fits.
        """
        waiting = [queue for queue in self._queues if queue.heap]
        for queue in sorted(waiting, key=lambda queue: queue.heap[0]):
            lane_is_free = queue.lane is None or not self._in_lane or queue.lane == self._lane
            if queue.slots <= self._free and lane_is_free:
                return queue
            if queue.passed >= self._workers:
                return None
        return None

    def occupy(self, queue: Queue) -> int:
        """Takes the head of a queue, with its slots and lane."""
        index = heappop(queue.heap)
        queue.passed = 0
        for other in self._queues:
            if other.heap and other.heap[0] < index:
                other.passed += 1
        self._free -= queue.slots
        if queue.lane is not None:
            self._lane = queue.lane
            self._in_lane += 1
        return index

    def vacate(self, task: Task) -> None:
        """Gives back the slots and the lane of a task that ended."""
        self._free += min(task.slots, self._workers)
        if task.lane is not None:
            self._in_lane -= 1
