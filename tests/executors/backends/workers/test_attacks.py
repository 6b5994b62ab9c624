"""Worker processes under attack: what actions do to the worker that they run in."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from executors import Graph, MemoryLimitExceeded, Task, TaskTimeout, load_backend, run
from executors.backends.processes import Processes
from executors.backends.workers.bodies.process import ProcessBody
from executors.backends.workers.handle import WorkerHandle


def test_many_large_log_records_of_one_task_come_through(caplog: pytest.LogCaptureFixture) -> None:
    def log() -> None:
        for _ in range(600):
            logging.getLogger("large").warning("m" * 40_000)

    with load_backend("processes", 1) as pool:
        run(Graph([Task("log", log)]), pool).raise_for_failures()
    assert len([record for record in caplog.records if record.name == "large"]) == 600


def test_a_log_record_that_cannot_be_handled_breaks_nothing(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "only_there.py").write_text("class Text(str): pass\n")

    def prepare() -> None:
        sys.path.insert(0, str(tmp_path))

    def log() -> int:
        from only_there import Text  # type: ignore[import-not-found]

        logging.getLogger("odd").warning("x", extra={"odd": Text("y")})
        return 5

    with load_backend("processes", 1, initializer=prepare) as pool:
        assert run(Graph([Task("log", log)]), pool).values == {"log": 5}
    assert "a log record of process-0" in caplog.text


def test_log_levels_are_those_of_the_moment(caplog: pytest.LogCaptureFixture) -> None:
    def log() -> None:
        logging.getLogger("quiet").warning("not wanted")

    with load_backend("processes", 1) as pool:
        logging.getLogger("quiet").setLevel(logging.ERROR)
        try:
            run(Graph([Task("log", log)]), pool).raise_for_failures()
        finally:
            logging.getLogger("quiet").setLevel(logging.NOTSET)
    assert "not wanted" not in caplog.text


@pytest.mark.parametrize("code", [0, 3])
def test_what_an_action_forks_takes_no_calls(code: int) -> None:
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            sys.exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    tasks = [Task(f"fork{index}", fork) for index in range(5)]
    tasks += [Task(f"short{index}", int) for index in range(200)]
    with load_backend("processes", 2) as pool:
        report = run(Graph(tasks), pool)
    assert [report.values[f"fork{index}"] for index in range(5)] == [code] * 5
    assert len(report.values) == 205


def test_a_worker_that_left_its_process_group_is_killed_all_the_same() -> None:
    def leave() -> None:
        os.setpgid(0, os.getpgid(os.getppid()))
        time.sleep(60)

    with load_backend("processes", 1) as pool:
        report = run(Graph([Task("leave", leave, timeout_s=0.3)]), pool)
    assert isinstance(report.tasks["leave"].error, TaskTimeout)


def test_a_forked_copy_of_this_program_leaves_the_pool_alone() -> None:
    def pids(pool: Processes) -> list[int]:
        return [worker.body.pid for worker in pool._pool.workers.values()]

    with Processes(2) as pool:
        before = pids(pool)
        child = os.fork()
        if child == 0:
            try:
                others = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]
                pool.__exit__(None, None, None)
                os._exit(7 if all(os.fstat(other) for other in others) else 1)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert run(Graph([Task("a", lambda: 1)]), pool).values == {"a": 1}
        assert pids(pool) == before


def test_ctrl_c_while_the_pool_closes_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: WorkerHandle, timeout_s: float = 1.0) -> None:
        raise KeyboardInterrupt

    pool = Processes(2)
    with pool:
        pass
    before = set(Path("/dev/fd").iterdir())
    pool.__enter__()
    children = [worker.body for worker in pool._pool.workers.values()]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ProcessBody, "wait_for_exit", interrupt)
        pool.__exit__(None, None, None)
    assert set(Path("/dev/fd").iterdir()) == before
    assert not any(psutil.pid_exists(child.pid) for child in children)
    with pool:
        assert run(Graph([Task("a", lambda: 1)]), pool).values == {"a": 1}


def test_an_error_whose_text_exits_is_told(tmp_path: Path) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            sys.exit(3)

    def fail() -> None:
        raise Odd

    with load_backend("processes", 1) as pool:
        report = run(Graph([Task("a", fail)]), pool)
    assert "WorkerDied" not in repr(report.tasks["a"].error)


@pytest.mark.skipif(sys.platform != "linux", reason="memory_limit_bytes works on Linux only")
def test_memory_used_up_in_small_pieces_is_told_and_the_worker_lives() -> None:
    def hog() -> None:
        pieces = []
        while True:
            pieces.append(bytearray(1000))

    with Processes(1, memory_limit_bytes=300_000_000) as pool:
        (before,) = pool._pool.workers
        report = run(Graph([Task("hog", hog)]), pool)
        assert isinstance(report.tasks["hog"].error, MemoryLimitExceeded)
        again = run(Graph([Task("hog", hog)]), pool)
        assert isinstance(again.tasks["hog"].error, MemoryLimitExceeded)
        assert list(pool._pool.workers) == [before]


def test_a_call_that_begins_while_the_queue_is_taken_back_can_time_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_back = WorkerHandle.take_back

    def late(self: WorkerHandle, most: int) -> list[int]:
        time.sleep(0.02)  # meanwhile the first call ends and the second one begins
        return take_back(self, most)

    monkeypatch.setattr(WorkerHandle, "take_back", late)
    tasks = [
        Task("first", lambda: time.sleep(0.005)),
        Task("second", lambda: time.sleep(3), timeout_s=0.2),
    ]
    with load_backend("processes", 1) as pool:
        report = run(Graph(tasks), pool)
    assert isinstance(report.tasks["second"].error, TaskTimeout)
