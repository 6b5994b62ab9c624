"""For how long attempts compute: `Attempt.cpu_s`."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from executors import Graph, Task, load_backend, run
from executors.backends.meter import SHORT_S

BACKENDS = ["sequential", "threads", "processes"]
BUSY_S = 0.02


def compute() -> None:
    until_s = time.thread_time() + BUSY_S
    while time.thread_time() < until_s:
        pass


def wait() -> None:
    time.sleep(0.1)


def start_a_busy_child() -> None:
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)


def nothing() -> None:
    pass


def compute_and_fail_once(seen: list[int] = []) -> None:  # noqa: B006 - kept by the worker
    seen.append(1)
    if len(seen) % 2:
        compute()
        raise ValueError
    wait()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_task_computes_is_told_from_what_it_waits(backend: str) -> None:
    graph = Graph([Task("busy", compute), Task("lazy", wait), Task("parent", start_a_busy_child)])
    report = run(graph, backend, workers=2, measure_cpu=True)
    busy, lazy, parent = (report.tasks[name].attempts[-1] for name in ("busy", "lazy", "parent"))
    assert busy.cpu_s is not None and lazy.cpu_s is not None and parent.cpu_s is not None
    assert BUSY_S <= busy.cpu_s <= busy.duration_s
    assert lazy.cpu_s < BUSY_S < lazy.duration_s
    assert parent.cpu_s < parent.duration_s / 2, "what a child computes is not its own"


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_measured_only_if_it_is_wanted(backend: str) -> None:
    with load_backend(backend, 2) as pool:
        for wanted in (False, True, False):
            report = run(Graph([Task("busy", compute)]), pool, measure_cpu=wanted)
            attempt = report.tasks["busy"].attempts[-1]
            assert (attempt.cpu_s is not None) == wanted
            assert (attempt.peak_bytes is not None) == (wanted and backend == "processes")


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_long_task_computes_is_known_after_short_ones(backend: str) -> None:
    tasks = [Task(f"short{index}", nothing) for index in range(100)]
    needs = tuple(task.name for task in tasks)
    graph = Graph([*tasks, Task("busy", lambda *_: compute(), needs)])
    report = run(graph, backend, workers=1, measure_cpu=True)
    known = [record for record in report.tasks.values() if record.attempts[-1].cpu_s is not None]
    assert "busy" in {record.name for record in known}
    assert len(known) < len(graph), "clocks are read seldom"
    for record in known:
        cpu_s = record.attempts[-1].cpu_s
        assert cpu_s is not None and 0 <= cpu_s <= record.duration_s
    busy_s = report.tasks["busy"].attempts[-1].cpu_s
    assert busy_s is not None and busy_s >= BUSY_S - SHORT_S


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_worker_computed_before_does_not_count(backend: str) -> None:
    with load_backend(backend, 1) as pool:
        run(Graph([Task("busy", compute)]), pool)
        report = run(Graph([Task("lazy", wait)]), pool, measure_cpu=True)
    cpu_s = report.tasks["lazy"].attempts[-1].cpu_s
    assert cpu_s is not None and cpu_s < BUSY_S


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_attempt_has_its_own(backend: str) -> None:
    graph = Graph([Task("flaky", compute_and_fail_once, retries=1)])
    first, second = run(graph, backend, workers=1, measure_cpu=True).tasks["flaky"].attempts
    assert first.cpu_s is not None and second.cpu_s is not None
    assert first.cpu_s >= BUSY_S > second.cpu_s


def test_the_peak_of_a_worker_grows_with_what_its_tasks_need() -> None:
    def fill(megabytes: int) -> int:
        filled = bytearray(b"x") * (megabytes << 20)
        time.sleep(0.01)
        return len(filled)

    graph = Graph(
        [
            Task("small", lambda: fill(1)),
            Task("large", lambda _: fill(64), needs=("small",)),
        ]
    )
    report = run(graph, "processes", workers=1, measure_cpu=True)
    small, large = (report.tasks[name].attempts[-1].peak_bytes for name in ("small", "large"))
    assert small is not None and large is not None
    assert large - small > 32 << 20
