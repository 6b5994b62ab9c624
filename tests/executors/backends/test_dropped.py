"""A backend that was entered and then forgotten: its workers end when it is collected."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from executors import Graph, Task, load_backend, run

GRAPH = Graph([Task("a", lambda: 1), Task("b", lambda: 2)])


def of_us() -> tuple[int, int, int]:
    """Children, threads and descriptors of this process."""
    gc.collect()
    me = psutil.Process()
    return len(me.children()), threading.active_count(), me.num_fds()


def settles(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true: threads end a little after they were told to."""
    give_up_s = time.monotonic() + 30
    while not condition() and time.monotonic() < give_up_s:
        time.sleep(0.01)
    return condition()


def entered(name: str, *, runs: bool) -> Any:
    backend = load_backend(name, 2).__enter__()
    if runs:
        run(GRAPH, backend)
    return backend


@pytest.mark.parametrize("name", ["threads", "processes"])
@pytest.mark.parametrize("runs", [True, False])
def test_its_workers_end(name: str, runs: bool) -> None:
    entered(name, runs=True).__exit__()  # whatever Python itself opens once
    before = of_us()
    for _ in range(3):
        backend = entered(name, runs=runs)
        has_threads = name == "threads" and runs
        if has_threads or name == "processes":
            with pytest.warns(ResourceWarning, match="dropped without being left"):
                del backend
                gc.collect()
        else:
            del backend
    assert settles(lambda: of_us() == before)


@pytest.mark.parametrize("name", ["threads", "processes"])
@pytest.mark.filterwarnings("ignore:a backend was dropped")
def test_its_workers_end_in_a_circle_and_after_an_exception(name: str) -> None:
    before = of_us()

    class Notebook:
        def __init__(self) -> None:
            self.backend, self.me = entered(name, runs=True), self

    def fails() -> None:
        backend = entered(name, runs=True)
        raise ValueError(backend)

    Notebook()
    with pytest.raises(ValueError, match="backend"):
        fails()
    assert settles(lambda: of_us() == before)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_one_that_is_left_or_in_use_keeps_its_workers(name: str) -> None:
    backend = entered(name, runs=True)
    gc.collect()
    assert run(GRAPH, backend).values == {"a": 1, "b": 2}
    backend.__exit__()
    before = of_us()
    del backend
    assert of_us() == before


def test_a_forked_child_that_drops_it_harms_nothing() -> None:
    backend = entered("processes", runs=True)
    pid = os.fork()
    if not pid:
        del backend
        gc.collect()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    pids = [worker.body.pid for worker in backend._pool.workers.values()]
    assert run(GRAPH, backend).values == {"a": 1, "b": 2}
    assert pids == [worker.body.pid for worker in backend._pool.workers.values()]
    backend.__exit__()


FORKS = """
import os, sys
from executors import Graph, Task, load_backend, run
graph = Graph([Task(f"t{i}", lambda: i) for i in range(6)])
with load_backend(sys.argv[1], 2) as backend:
    first = run(graph, backend).values
    pid = os.fork()
    for _ in range(2):
        assert run(graph, backend).values == first
if pid:
    assert os.waitpid(pid, 0)[1] == 0
    print("done")
"""


@pytest.mark.parametrize("name", ["sequential", "threads", "processes"])
def test_a_forked_child_can_use_it_as_well(name: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKS, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_program_that_ends_without_leaving_it_ends_quietly(name: str) -> None:
    script = (
        "from executors import Graph, Task, load_backend, run\n"
        f"backend = load_backend({name!r}, 2).__enter__()\n"
        "print(run(Graph([Task('a', lambda: 1)]), backend).values)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("{'a': 1}\n", "", 0)
