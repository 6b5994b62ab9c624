"""Workers of dask's own cluster killed at random moments: actions begin once, values are right.

A short version runs in CI; `nox -s soak` runs the long one (DASK_FAULT_RUNS=300).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    Graph,
    RunReport,
    Status,
    Task,
    WorkerDied,
    load_backend,
    run,
)
from executors.backends import backend_class

if (missing := backend_class("dask").unavailable()) is not None:
    pytest.skip(missing, allow_module_level=True)

RUNS = int(os.environ.get("DASK_FAULT_RUNS", "6"))
RUNS_A_CLUSTER = 25
PADDING = 60_000  # bytes; such values are lost with their worker

Value = tuple[int, bytes]


def make(folder: Path, index: int, nap_s: float, is_large: bool) -> Callable[..., Value]:
    """A value that shows on which others it was computed."""

    def action(*needs: Value) -> Value:
        descriptor = os.open(folder / "begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b"%d\n" % index)
        os.close(descriptor)
        time.sleep(nap_s)
        number = (index + sum(number for number, _ in needs)) % 2**31
        return number, bytes(PADDING if is_large else 0)

    return action


def random_graph(draw: random.Random, folder: Path, retries: int) -> Graph:
    tasks: list[Task] = []
    for index in range(draw.randint(5, 60)):
        before = tasks[-1:] if draw.random() < 0.4 else draw.sample(tasks, min(len(tasks), 3))
        needs = tuple(task.name for task in before[: draw.randint(0, 3)])
        nap_s = draw.choice([0.0, 0.0, 0.005, 0.02])
        action = make(folder, index, nap_s, draw.random() < 0.1)
        tasks.append(Task(f"t{index}", action, needs, retries=retries))
    return Graph(tasks)


def check(graph: Graph, report: RunReport, begun: Counter[int], kills: int) -> None:
    numbers: dict[str, int] = {}
    died = 0
    for index, task in enumerate(graph.tasks):
        record = report.tasks[task.name]
        needed = [report.tasks[need].status for need in task.needs]
        errors = [str(attempt.error) for attempt in record.attempts]
        not_begun = sum("did not start" in error for error in errors)
        killed = sum("died while it had" in error for error in errors)  # maybe as it began
        least = len(errors) - not_begun - killed
        assert least <= begun[index] <= least + killed, (task.name, begun[index], errors)
        died += killed
        if record.status is Status.UPSTREAM_FAILED:
            assert set(needed) & {Status.FAILED, Status.UPSTREAM_FAILED}
            continue
        assert set(needed) <= {Status.SUCCEEDED}
        if record.status is Status.FAILED:
            assert isinstance(record.error, WorkerDied)
            continue
        assert record.status is Status.SUCCEEDED
        numbers[task.name] = (index + sum(numbers[need] for need in task.needs)) % 2**31
        if task.name in report.values:
            assert report.values[task.name][0] == numbers[task.name]
    assert died <= kills


def test_every_outcome_is_right_while_workers_are_killed(tmp_path: Path) -> None:
    killed = 0
    for start in range(0, RUNS, RUNS_A_CLUSTER):
        with load_backend("dask", 2) as backend:
            for seed in range(start, min(RUNS, start + RUNS_A_CLUSTER)):
                killed += one_run(backend, random.Random(seed), tmp_path / str(seed))
    assert killed >= RUNS // 2


def one_run(backend: Any, draw: random.Random, folder: Path) -> int:
    """One random run; how many workers were killed in it."""
    folder.mkdir()
    graph = random_graph(draw, folder, draw.choice([0, 0, 2]))
    kills = 0
    over = threading.Event()

    def kill() -> None:
        nonlocal kills
        for _ in range(draw.randint(1, 3)):
            if over.wait(draw.choice([0.0, 0.005, 0.02, 0.1])):
                return
            try:
                os.kill(draw.choice(backend._connection.processes), signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    finally:
        over.set()
        thread.join()
    file = folder / "begun"
    begun = Counter(map(int, file.read_text().split())) if file.exists() else Counter[int]()
    check(graph, report, begun, kills)
    return kills
