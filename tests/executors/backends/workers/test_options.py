"""What a pool of processes can be told: initializer, modules to preload, a memory limit."""

from __future__ import annotations

import functools
import os
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    BackendError,
    Graph,
    MemoryLimitExceeded,
    NotPicklable,
    Status,
    Task,
    WorkerDied,
    load_backend,
    run,
)
from executors.backends.processes import Processes
from executors.backends.workers.bodies.process import IS_FREE_THREADED

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA is Linux's")
MB = 1_000_000


def test_the_initializer_runs_once_in_each_worker_before_it_is_ready(tmp_path: Path) -> None:
    folder = str(tmp_path)

    def initialize(name: str) -> None:
        os.environ["MADE_BY"] = name
        with open(f"{folder}/{os.getpid()}", "a") as file:  # noqa: PTH123
            file.write("x")

    with load_backend("processes", 2, initializer=functools.partial(initialize, "me")) as pool:
        assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["x", "x"]
        tasks = [Task(f"t{at}", lambda: os.environ["MADE_BY"]) for at in range(20)]
        assert set(run(Graph(tasks), pool).values.values()) == {"me"}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_worker_that_takes_the_place_of_a_dead_one_is_initialized_too() -> None:
    def initialize() -> None:
        os.environ["MADE_BY"] = "me"

    tasks = [Task("die", lambda: os._exit(1)), Task("next", lambda: os.environ["MADE_BY"])]
    with Processes(1, initializer=initialize) as pool:
        report = run(Graph(tasks), pool, policy=CONTINUE_ON_FAILURE)
    assert report.values == {"next": "me"}


def test_a_failing_initializer_ends_the_start_with_its_traceback() -> None:
    def initialize() -> None:
        raise ValueError("no licence")

    before = psutil.Process().children()
    with pytest.raises(BackendError, match=r"cannot be set up:(.|\n)*no licence"):
        Processes(2, initializer=initialize).open()
    assert psutil.Process().children() == before


def test_preloaded_modules_are_there() -> None:
    with Processes(2, preload=["wave", "concurrent.futures"]) as pool:
        tasks = [Task(f"t{at}", lambda: "wave" in sys.modules) for at in range(8)]
        assert set(run(Graph(tasks), pool).values.values()) == {True}


def test_a_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(BackendError, match="no_such_module"):
        Processes(1, preload=["no_such_module"]).open()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"initializer": 3}, "initializer must be callable, not 3"),
        ({"initializer": functools.partial(print, threading.Lock())}, "cannot be pickled"),
        ({"preload": "numpy"}, "sequence of module names"),
        ({"preload": [1]}, "sequence of module names"),
        ({"memory_limit_bytes": 0}, "whole number of bytes"),
        ({"memory_limit_bytes": 1.5}, "whole number of bytes"),
        ({"memory_limit_bytes": True}, "whole number of bytes"),
        ({"memory_limit": 1}, "has no option 'memory_limit'; did you mean 'memory_limit_bytes'"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], says: str) -> None:
    with pytest.raises(BackendError, match=says):
        load_backend("processes", 1, **options)


def test_options_of_another_backend_are_refused() -> None:
    with pytest.raises(BackendError, match="'threads' has no option 'preload'"):
        load_backend("threads", 1, preload=["json"])
    with load_backend("threads", 1, grace_s=0.1) as backend:
        assert run(Graph([Task("t", lambda: 1)]), backend).succeeded


@linux_only
def test_more_memory_than_the_limit_fails_the_task_and_not_its_worker() -> None:
    def need(size: int) -> int:
        return len(bytearray(size))

    tasks = [
        Task("little", lambda: (need(10 * MB), os.getpid())),
        Task("much", lambda _: need(500 * MB), ("little",)),
        Task("after", lambda _: (need(10 * MB), os.getpid()), ("little",)),
    ]
    with Processes(1, memory_limit_bytes=200 * MB) as pool:
        report = run(Graph(tasks), pool, policy=CONTINUE_ON_FAILURE, keep="all")
    error = report.tasks["much"].error
    if IS_FREE_THREADED and isinstance(error, WorkerDied):
        return  # its allocator may crash
    assert isinstance(error, MemoryLimitExceeded)
    assert isinstance(error, MemoryError)
    assert "task 'much'" in str(error)
    assert "200000000 bytes" in str(error)
    assert "in need" in error.__notes__[0]
    assert report.values["little"] == report.values["after"]  # the same process


@linux_only
def test_values_and_arguments_that_do_not_fit_are_named_too() -> None:
    def make() -> bytes:
        return bytes(120 * MB)

    with Processes(1, memory_limit_bytes=200 * MB) as pool:
        tasks = [Task("make", make), Task("join", lambda *two: None, ("make", "make"))]
        report = run(Graph(tasks), pool, policy=CONTINUE_ON_FAILURE)
    failed = [record for record in report.tasks.values() if record.status is Status.FAILED]
    assert len(failed) == 1
    kinds = (MemoryLimitExceeded, WorkerDied) if IS_FREE_THREADED else MemoryLimitExceeded
    assert isinstance(failed[0].error, kinds)


@linux_only
@pytest.mark.parametrize("limit", [1, 100_000, 1 * MB, 4 * MB, 8 * MB])
def test_a_limit_below_what_a_worker_needs_is_an_error_at_the_start(limit: int) -> None:
    # Depending on how far the allocator gets, the first thing that fails is another one.
    with pytest.raises(BackendError, match=f"memory_limit_bytes is {limit}, but .* before its"):
        Processes(1, memory_limit_bytes=limit).open()


@linux_only
def test_a_limit_that_an_initializer_exceeds_is_named() -> None:
    # mimalloc, of free-threaded builds, may crash when it gets no memory.
    with pytest.raises(BackendError, match=f"memory_limit_bytes is {200 * MB}"):
        Processes(1, initializer=lambda: bytes(300 * MB), memory_limit_bytes=200 * MB).open()


def test_without_a_limit_a_memory_error_is_the_actions_own() -> None:
    def fail() -> None:
        raise MemoryError("mine")

    with Processes(1) as pool:
        report = run(Graph([Task("t", fail)]), pool)
    error = report.tasks["t"].error
    assert type(error) is MemoryError
    assert not isinstance(error, NotPicklable)
