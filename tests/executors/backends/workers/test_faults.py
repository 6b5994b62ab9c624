"""Workers killed at random moments of random runs: every outcome is right and nothing is left.

A short version runs in CI; `nox -s soak` runs the long one (FAULT_RUNS=1000).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from executors import (
    CONTINUE_ON_FAILURE,
    Graph,
    RunReport,
    Status,
    Task,
    TaskTimeout,
    WorkerDied,
    run,
)
from executors.backends.processes import Processes
from executors.backends.workers.handle import WorkerHandle
from executors.backends.workers.pool import START_TRIES
from tests.processes import left_in_shared_memory, shared_memory, working_children

RUNS = int(os.environ.get("FAULT_RUNS", "16"))
RUNS_A_POOL = 8
RETRIES = 3
TIMEOUT_S = 2.0
PADDING = 100_000  # bytes; such values go through shared memory

Value = tuple[int, bytes]


def make(index: int, nap_s: float, is_large: bool) -> Callable[..., Value]:
    """A value that shows on which others it was computed."""

    def action(*needs: Value) -> Value:
        if nap_s:
            time.sleep(nap_s)
        assert all(padding in (b"", bytes(PADDING)) for _, padding in needs)
        number = (index + sum(number for number, _ in needs)) % 2**31
        return number, bytes(PADDING if is_large else 0)

    return action


def fail(*_: Value) -> Value:
    raise ValueError("as planned")


def random_graph(draw: random.Random, with_timeouts: bool) -> tuple[Graph, set[str]]:
    """A graph with chains and joins, and the names of the tasks that always fail."""
    failing = set()
    tasks: list[Task] = []
    for index in range(draw.randint(5, 60)):
        before = tasks[-1:] if draw.random() < 0.4 else draw.sample(tasks, min(len(tasks), 3))
        needs = tuple(task.name for task in before[: draw.randint(0, 3)])
        nap_s = draw.choice([0.0, 0.0, 0.0, 0.001, 0.005])
        action: Callable[..., Value] = make(index, nap_s, draw.random() < 0.2)
        if draw.random() < 0.03:
            action = fail
            failing.add(f"t{index}")
        timeout_s = TIMEOUT_S if with_timeouts else None
        tasks.append(Task(f"t{index}", action, needs, retries=RETRIES, timeout_s=timeout_s))
    return Graph(tasks), failing


class Killer:
    """Kills, and where calls have timeouts also stops, random workers at random moments."""

    def __init__(self, pool: Processes, draw: random.Random, may_stop: bool) -> None:
        self._pool = pool
        self._draw = draw
        self._may_stop = may_stop
        self.killed = 0
        self.stopped = 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._work, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _work(self, over: threading.Event) -> None:
        left_over = len(self._pool._pool.workers)  # hit at the end of the run before, at most
        most = START_TRIES - 1 - left_over  # all may hit workers at their start
        for _ in range(self._draw.randint(1, most)):
            if over.wait(self._draw.choice([0.0, 0.0005, 0.002, 0.005, 0.02])):
                return
            workers = list(self._pool._pool.workers.values())
            if workers:
                self._hit(self._draw.choice(workers))

    def _hit(self, worker: WorkerHandle) -> None:
        stop = self._may_stop and worker.is_ready and self._draw.random() < 0.2
        try:
            os.kill(worker.body.pid, signal.SIGSTOP if stop else signal.SIGKILL)
        except ProcessLookupError:
            return
        self.stopped += stop
        self.killed += not stop


def check(graph: Graph, failing: set[str], report: RunReport, killer: Killer) -> None:
    numbers: dict[str, int] = {}
    lost = 0
    for index, task in enumerate(graph.tasks):
        record = report.tasks[task.name]
        errors = [attempt.error for attempt in record.attempts]
        lost += sum(isinstance(error, WorkerDied) for error in errors)
        own = [error for error in errors if not isinstance(error, (WorkerDied, TaskTimeout))]
        if not all(need in numbers for need in task.needs):
            assert record.status is Status.UPSTREAM_FAILED
            assert not errors
        elif task.name in failing or (len(errors) == RETRIES + 1 and errors[-1] is not None):
            assert record.status is Status.FAILED
            assert len(errors) == RETRIES + 1
            assert all(isinstance(error, ValueError) for error in own)
            assert not own or task.name in failing
        else:
            assert record.status is Status.SUCCEEDED
            assert own == [None]
            assert errors[-1] is None
            numbers[task.name] = (index + sum(numbers[need] for need in task.needs)) % 2**31
            assert report.values[task.name][0] == numbers[task.name]
    assert lost <= killer.killed  # each costs one running task at most


def inside(folder: str) -> set[str]:
    return {str(path) for path in Path(folder).iterdir()} if Path(folder).exists() else set()


def test_whatever_kills_workers_every_outcome_is_right_and_nothing_is_left() -> None:
    before, shared, others = len(inside("/dev/fd")), shared_memory(), working_children()
    killed = 0
    for first in range(0, RUNS, RUNS_A_POOL):
        draw = random.Random(first)
        with Processes(draw.randint(1, 4)) as pool:
            for seed in range(first, min(RUNS, first + RUNS_A_POOL)):
                draw = random.Random(f"run {seed}")
                may_stop = draw.random() < 0.1
                graph, failing = random_graph(draw, may_stop)
                killer = Killer(pool, draw, may_stop)
                with killer.at_work():
                    report = run(graph, pool, policy=CONTINUE_ON_FAILURE, keep="all")
                check(graph, failing, report, killer)
                killed += killer.killed
        del report
    assert killed > RUNS  # or it would show nothing
    assert len(inside("/dev/fd")) == before
    assert working_children() <= others
    assert not left_in_shared_memory(shared)
