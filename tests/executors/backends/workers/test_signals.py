"""Signals in worker processes and in what actions start, compared with the program itself."""

from __future__ import annotations

import _thread
import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from executors import CONTINUE_ON_FAILURE, Graph, Task, WorkerDied, load_backend, run
from executors.backends.processes import Processes

CHILD = """
import time
try:
    print("up", flush=True)
    while True:  # a signal just before a sleep does not shorten it
        time.sleep(0.05)
except KeyboardInterrupt:
    print("interrupted, saved")
"""


def value(backend: Any, action: Callable[[], Any]) -> Any:
    report = run(Graph([Task("a", action, timeout_s=60)]), backend, policy=CONTINUE_ON_FAILURE)
    error = report.tasks["a"].error
    return report.values["a"] if error is None else type(error)


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(1) as backend:
        yield backend


def stopped_child() -> str:
    """What a child process says that is stopped as with Ctrl-C."""
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    return child.communicate()[0].strip()


def stopped_fork() -> int:
    pid = os.fork()
    if not pid:
        try:
            while True:
                time.sleep(0.05)
        except KeyboardInterrupt:
            os._exit(7)
    time.sleep(0.2)
    os.kill(pid, signal.SIGINT)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_can_be_stopped_with_sigint(pool: Processes) -> None:
    assert value(pool, stopped_child) == value(load_backend("threads", 1), stopped_child)
    assert value(pool, stopped_child) == "interrupted, saved"
    assert value(pool, stopped_fork) == 7


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def limited() -> str:
    timer = threading.Timer(0.1, _thread.interrupt_main)
    timer.start()
    try:
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        return "time limit reached"


def limited_coroutine() -> str:
    async def wait() -> None:
        await asyncio.sleep(60)

    try:
        with time_limit(0.1):
            asyncio.run(wait())
    except KeyboardInterrupt:
        return "time limit reached"
    return "not interrupted"


def raises_signal() -> str:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return "raised"
    return "not raised"


def interrupted_c_function() -> None:
    with time_limit(0.1):
        time.sleep(60)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (limited, "time limit reached"),
        (limited_coroutine, "time limit reached"),
        (raises_signal, "raised"),
        (interrupted_c_function, KeyboardInterrupt),
    ],
)
def test_an_action_can_interrupt_itself(
    pool: Processes, action: Callable[[], Any], expected: Any
) -> None:
    assert value(pool, action) == expected
    assert value(pool, os.getpid) == value(pool, os.getpid)  # the worker is well


def test_an_action_without_a_frame_of_its_own_can_be_interrupted(pool: Processes) -> None:
    pid = value(pool, os.getpid)
    timer = threading.Timer(0.3, os.kill, (pid, signal.SIGINT))
    timer.start()
    assert value(pool, partial(time.sleep, 60)) is KeyboardInterrupt
    assert value(pool, os.getpid) == pid


def test_an_idle_worker_is_not_interrupted(pool: Processes) -> None:
    pid = value(pool, os.getpid)
    for _ in range(5):
        os.kill(pid, signal.SIGINT)
        time.sleep(0.01)
    assert value(pool, os.getpid) == pid


def test_interrupts_at_any_moment_hit_actions_only(pool: Processes) -> None:
    """Thousands of short tasks, and a signal every few of them: nothing is lost or done twice."""
    pid = value(pool, os.getpid)
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.0007):
            os.kill(pid, signal.SIGINT)

    actions = lambda: sum(range(50)), lambda: 1 / 0
    tasks = [Task(f"t{i}", actions[i % 2], timeout_s=60) for i in range(4000)]
    tasks.append(Task("end", os.getpid, timeout_s=60))
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        report = run(Graph(tasks), pool, policy=CONTINUE_ON_FAILURE, keep="all")
    finally:
        over.set()
        thread.join()
    errors = [record.error for record in report.tasks.values() if record.error is not None]
    assert {type(error) for error in errors} <= {KeyboardInterrupt, ZeroDivisionError}
    assert len(report.values) + len(errors) == 4001
    assert value(pool, os.getpid) == pid


SIGNALS_OF_A_CHILD = """
import signal, subprocess, sys
{before}
from executors import Graph, Task, load_backend, run

def of_a_child():
    lines = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
    return [line for line in lines.splitlines() if line[:6] in ("SigBlk", "SigIgn", "SigCgt")]

graph = Graph([Task("a", of_a_child)])
seen = [run(graph, load_backend(name, 1)).values["a"] for name in ("sequential", "processes")]
print("same" if seen[0] == seen[1] else seen)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "before",
    [
        "",
        "signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGUSR1, print)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM})",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))",
    ],
)
def test_what_an_action_starts_has_the_signals_of_the_program(before: str) -> None:
    script = SIGNALS_OF_A_CHILD.format(before=before)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "same", done.stderr


CTRL_C = """
import sys, time
from pathlib import Path
from executors import Graph, Task, load_backend, run

def action():
    Path(sys.argv[1], "began").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path(sys.argv[1], "interrupted").touch()

try:
    run(Graph([Task("a", action)]), load_backend("processes", 1))
except KeyboardInterrupt as error:
    print("stopped", error.report.tasks["a"].status.name, flush=True)
"""


def test_ctrl_c_in_a_terminal_only_stops_the_run(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", CTRL_C, str(tmp_path)])
    output = b""
    try:
        give_up_s = time.monotonic() + 60
        while not (tmp_path / "began").exists() and time.monotonic() < give_up_s:
            time.sleep(0.01)
        os.write(terminal, b"\x03")
        while chunk := os.read(terminal, 1000):
            output += chunk
    except OSError:
        pass  # the end of a terminal
    os.waitpid(pid, 0)
    os.close(terminal)
    assert b"stopped STOPPED" in output
    assert not (tmp_path / "interrupted").exists()


UNKNOWN_END = """
import os, signal, sys, threading
from executors import CONTINUE_ON_FAILURE, Graph, Task, load_backend, run
{before}
backend = load_backend("processes", 1)
for number in range(2):
    action = [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)][number]
    error = run(Graph([Task("a", action)]), backend, policy=CONTINUE_ON_FAILURE).tasks["a"].error
    print(type(error).__name__, error)
"""
REAPER = """
def reap():
    while True:
        try:
            os.wait()
        except ChildProcessError:
            pass
threading.Thread(target=reap, daemon=True).start()
"""


@pytest.mark.parametrize(
    "before", ["signal.signal(signal.SIGCHLD, signal.SIG_IGN)", REAPER], ids=["ignored", "reaper"]
)
def test_an_end_that_cannot_be_known_is_not_made_up(before: str) -> None:
    script = UNKNOWN_END.format(before=before)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["WorkerDied", "WorkerDied"], done.stderr
    for line in lines:
        known = "was killed by SIGKILL" in line or "exited with code 3" in line
        assert known or "how cannot be known" in line
        assert "code 0" not in line
    if before != REAPER:
        assert all("the program ignores SIGCHLD" in line for line in lines)


def test_an_end_that_can_be_known_is_told(pool: Processes) -> None:
    graph = Graph([Task("a", lambda: os._exit(3))])
    error = run(graph, pool, policy=CONTINUE_ON_FAILURE).tasks["a"].error
    assert isinstance(error, WorkerDied)
    assert "exited with code 3" in str(error)
