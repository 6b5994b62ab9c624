"""Large values of real runs on worker processes: shared, private to each reader, and freed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from executors import CONTINUE_ON_FAILURE, Graph, Status, Task, WorkerDied, run
from executors.backends.processes import Processes
from executors.pickling.packing import LARGE_BYTES
from tests.processes import left_in_shared_memory, shared_memory

SIZE = 4 * LARGE_BYTES


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2) as backend:
        yield backend


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def shared_bytes() -> int:
    """Memory in files without a name that this process and its workers hold, each file once."""
    files = {}
    for process in (psutil.Process(), *psutil.Process().children()):
        for path in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                if "memfd:executors" in str(path.readlink()):
                    status = path.stat()
                    files[status.st_ino] = 512 * status.st_blocks
            except FileNotFoundError:
                pass
    return sum(files.values())


def freed() -> bool:
    """Whether nothing is held any more; a worker frees what it had after its report."""
    give_up_s = time.monotonic() + 10
    while shared_bytes() and time.monotonic() < give_up_s:
        time.sleep(0.01)
    return shared_bytes() == 0


def test_a_reader_that_writes_changes_its_own_copy_only(pool: Processes) -> None:
    def write(array: Any) -> float:
        array += 1
        return float(array.sum())

    tasks = [Task("make", lambda: np.zeros(SIZE))]
    tasks += [Task(f"write{at}", write, ("make",), retries=1) for at in range(6)]
    report = run(Graph(tasks), pool, keep="all")
    assert all(report.values[f"write{at}"] == SIZE for at in range(6))
    assert not report.values["make"].any()
    report.values["make"][:] = 5  # it is the caller's own


def test_a_chain_of_large_values_hands_them_on(pool: Processes) -> None:
    tasks = [Task("0", lambda: np.zeros(SIZE))]
    tasks += [Task(str(at), lambda array: array + 1, (str(at - 1),)) for at in range(1, 40)]
    (last,) = run(Graph(tasks), pool).values.values()
    assert (last == 39).all()


def test_large_actions_and_exceptions_come_through(pool: Processes) -> None:
    big = np.arange(SIZE)

    def fail() -> None:
        raise ValueError("x" * SIZE)

    graph = Graph(
        [
            *(Task(f"t{at}", lambda: int(big[-1])) for at in range(4)),
            *(Task(f"by value{at}", lambda at=at: int(big[at])) for at in range(4)),
            Task("fail", fail),
        ]
    )
    report = run(graph, pool, policy=CONTINUE_ON_FAILURE)
    assert report.values["t3"] == SIZE - 1
    assert report.values["by value3"] == 3
    assert str(report.tasks["fail"].error) == "x" * SIZE


def test_a_task_may_need_more_large_values_than_fit_into_a_message(pool: Processes) -> None:
    count = 300
    tasks = [Task(f"t{at}", lambda at=at: np.full(LARGE_BYTES, at)) for at in range(count)]
    names = tuple(task.name for task in tasks)
    tasks.append(Task("sum", lambda *many: [int(array[-1]) for array in many], names))
    assert run(Graph(tasks), pool).values == {"sum": list(range(count))}


def test_values_are_freed_with_their_last_reader_and_none_outlives_the_run(
    pool: Processes,
) -> None:
    run(Graph([Task("warm", lambda: np.zeros(SIZE))]), pool)
    before = descriptors()
    tasks = [Task("0", lambda: np.zeros(SIZE))]
    tasks += [Task(str(at), lambda array: array * 2, (str(at - 1),)) for at in range(1, 30)]
    tasks += [Task("end", lambda array: shared_bytes(), ("29",))]
    report = run(Graph(tasks), pool)
    assert descriptors() == before
    assert freed()
    assert report.values["end"] <= 8 * 4 * SIZE  # not 30 of them


def test_arguments_of_calls_that_were_taken_back_are_freed(pool: Processes) -> None:
    """They wait behind a long call, go to the other worker, and the first one has nothing left."""

    def nap(_: Any) -> None:
        time.sleep(0.2)

    tasks = [Task(f"quick{at}", lambda: None, cost_s=9.0) for at in range(200)]
    tasks += [Task("make", lambda: np.ones(SIZE), cost_s=5.0)]
    tasks += [Task("long", nap, ("make",), cost_s=3.0)]
    tasks += [
        Task(f"t{at}", lambda array: float(array[0]), ("make",), cost_s=1.0) for at in range(40)
    ]
    for _ in range(3):
        assert run(Graph(tasks), pool).succeeded
        assert freed()


def test_nothing_is_left_of_a_killed_reader_or_maker(pool: Processes) -> None:
    def die(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    tasks = [Task("make", lambda: np.ones(SIZE)), Task("read", die, ("make",))]
    tasks += [Task(f"also{at}", lambda array: float(array.sum()), ("make",)) for at in range(4)]
    report = run(Graph(tasks), pool, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["read"].error, WorkerDied)
    assert report.values == {f"also{at}": float(SIZE) for at in range(4)}
    assert freed()


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="Linux")
def test_a_killed_parent_leaves_nothing_in_shared_memory(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, time
        from executors import Graph, Task, load_backend, run
        def tell(data):
            print(os.getpid(), flush=True)
            time.sleep(60)
        graph = Graph([Task("make", lambda: bytes({SIZE})), Task("tell", tell, ("make",))])
        run(graph, load_backend("processes", 2))
    """)
    before = shared_memory()
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running()
    assert not left_in_shared_memory(before)


def test_few_descriptors_are_enough_for_many_large_values() -> None:
    """Beyond three quarters of the limit, the parent copies values into its own memory."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    tasks = [Task(f"t{at}", lambda at=at: np.full(LARGE_BYTES, at)) for at in range(200)]
    tasks += [
        Task(f"u{at}", lambda array, other: int(array[0] + other[-1]), (f"t{at}", f"t{199 - at}"))
        for at in range(200)
    ]
    with Processes(2) as own:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 70, limits[1]))
        try:
            report = run(Graph(tasks), own)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert report.counts == {Status.SUCCEEDED: 400}
    assert set(report.values.values()) == {199}
