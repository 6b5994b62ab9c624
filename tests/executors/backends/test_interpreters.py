"""What only worker interpreters do: they share a process, and can be given up but not killed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
from importlib import import_module
from pathlib import Path

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    Graph,
    NotLoadable,
    Task,
    TaskStopped,
    TaskTimeout,
    load_backend,
    run,
)
from executors.backends import why_unavailable

if (reason := why_unavailable("interpreters")) is not None:
    pytest.skip(reason, allow_module_level=True)


def test_workers_are_interpreters_of_this_process() -> None:
    def where() -> tuple[int, int]:
        interpreters = import_module("concurrent.interpreters")
        return os.getpid(), interpreters.get_current().id

    with load_backend("interpreters", 2) as backend:
        report = run(Graph([Task("a", where)]), backend)
    pid, interpreter = report.values["a"]
    assert pid == os.getpid()
    assert interpreter != 0
    assert report.tasks["a"].attempts[0].worker.startswith("interpreter-")


def test_a_package_that_interpreters_cannot_load_is_named() -> None:
    numpy = pytest.importorskip("numpy")

    def imports() -> None:
        import numpy

        numpy.zeros(1)

    def has_it() -> object:
        return numpy.zeros(1)

    with load_backend("interpreters", 1) as backend:
        graph = Graph([Task("imports", imports), Task("has it", has_it), Task("ok", bool)])
        report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    for name in ("imports", "has it"):
        error = report.tasks[name].error
        assert isinstance(error, NotLoadable)
        assert "numpy cannot be loaded in an interpreter of this process" in str(error)
        assert "use the backend processes, or threads" in str(error)
    assert report.values["ok"] is False


def test_an_overdue_task_is_given_up_and_its_worker_replaced() -> None:
    ours, theirs = os.pipe()

    def waits() -> None:
        os.read(ours, 1)

    with load_backend("interpreters", 1) as backend:
        graph = Graph([Task("late", waits, timeout_s=0.1), Task("next", bool)])
        report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
        error = report.tasks["late"].error
        assert isinstance(error, TaskTimeout)
        assert "an interpreter cannot be stopped, so it may still be running" in str(error)
        assert report.values["next"] is False
    os.write(theirs, b"!")  # it ends, and nobody hears of it
    for descriptor in (ours, theirs):
        os.close(descriptor)


def test_a_stop_gives_up_what_runs() -> None:
    cancel = threading.Event()
    ours, theirs = os.pipe()

    began, begins = os.pipe()

    def waits() -> None:
        os.write(begins, b"!")
        os.read(ours, 1)

    def stops() -> None:
        os.read(began, 1)
        cancel.set()

    threading.Thread(target=stops).start()
    with load_backend("interpreters", 1) as backend:
        report = run(Graph([Task("a", waits)]), backend, cancel=cancel)
    assert isinstance(report.tasks["a"].error, TaskStopped)
    os.write(theirs, b"!")
    for descriptor in (ours, theirs, began, begins):
        os.close(descriptor)


def test_log_records_arrive_with_the_name_of_the_interpreter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with load_backend("interpreters", 1) as backend:
        run(Graph([Task("a", lambda: logging.getLogger("some").warning("hello"))]), backend)
    (record,) = [record for record in caplog.records if record.name == "some"]
    assert record.getMessage() == "hello"
    assert record.processName == "interpreter-0"


def test_nothing_stays_open() -> None:
    with load_backend("interpreters", 2) as backend:
        run(Graph([Task("a", bool)]), backend)
    before, threads = len(list(Path("/dev/fd").iterdir())), set(threading.enumerate())
    for _ in range(3):
        with load_backend("interpreters", 2) as backend:
            run(Graph([Task("a", lambda: bytes(1_000_000)), Task("b", len, ("a",))]), backend)
    assert len(list(Path("/dev/fd").iterdir())) <= before
    assert set(threading.enumerate()) <= threads


PROGRAM = """
    import atexit, os, sys, tempfile, time
    from executors import CONTINUE_ON_FAILURE, Graph, Task, load_backend, run

    def computes():
        while True:
            pass

    def sleeps():
        time.sleep(60)

    folder = tempfile.TemporaryDirectory()
    print(folder.name, flush=True)
    atexit.register(print, "an exit handler")
    with load_backend("interpreters", 2) as backend:
        graph = Graph([Task("late", {action}, timeout_s=0.2), Task("other", bool)])
        report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    print(report.tasks["late"].status, report.values["other"])
    {end}
"""


@pytest.mark.parametrize("action", ["computes", "sleeps"])
@pytest.mark.parametrize(
    ("end", "code"), [("pass", 0), ("sys.exit(5)", 5), ("sys.exit('no')", 1), ("1 / 0", 1)]
)
def test_a_program_ends_while_given_up_tasks_still_run(action: str, end: str, code: int) -> None:
    program = textwrap.dedent(PROGRAM.format(action=action, end=end))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    folder, outcome, handler = done.stdout.splitlines()
    assert outcome == "failed False"
    assert handler == "an exit handler"
    assert not Path(folder).exists()
    assert "subinterpreters" not in done.stderr


def test_a_program_ends_with_a_backend_that_it_did_not_leave() -> None:
    program = textwrap.dedent("""
        from executors import Graph, Task, load_backend, run
        backend = load_backend("interpreters", 2)
        backend.__enter__()
        print(run(Graph([Task("a", bool)]), backend).values)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'a': False}\n", "")
