"""Calls that wait at a worker: chains, what is taken back, and who pays for a death."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    STOP_ON_FAILURE,
    Call,
    Graph,
    Observer,
    RunReport,
    Status,
    Task,
    TaskTimeout,
    WorkerDied,
    run,
)
from executors.backends.processes import Processes
from executors.backends.workers import dispatch
from executors.backends.workers.handle import WorkerHandle
from tests.processes import stop

GIVE_UP_S = 30.0


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2) as backend:
        yield backend


def pid(*_: object) -> int:
    return os.getpid()


def quick(count: int) -> list[Task]:
    """So many short tasks teach the pool to give many at once."""
    return [Task(f"quick{at}", pid, cost_s=3.0) for at in range(count)]


def waits_for(files: list[Path]) -> Callable[[], bool]:
    """An action that ends when all of these exist."""
    names = [str(file) for file in files]

    def action() -> bool:
        give_up_s = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up_s:
            if all(os.path.exists(name) for name in names):  # noqa: PTH110
                return True
            time.sleep(0.001)
        return False

    return action


def touch(file: Path) -> Callable[[], None]:
    name = str(file)
    return lambda: open(name, "w").close()  # noqa: PTH123


class Starts(Observer):
    """Hears the names of the tasks that start."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def task_started(self, call: Call) -> None:
        self.names.append(call.task.name)


def deaths(report: RunReport) -> list[str]:
    """The names of the tasks with an attempt that a death ended, one for each such attempt."""
    return [
        record.name
        for record in report.tasks.values()
        for attempt in record.attempts
        if isinstance(attempt.error, WorkerDied)
    ]


def test_calls_behind_a_long_one_are_taken_to_the_idle_worker(
    pool: Processes, tmp_path: Path
) -> None:
    """The long task ends only when all that wait behind it have ended."""
    files = [tmp_path / str(at) for at in range(20)]
    graph = Graph(
        [
            *quick(200),
            Task("long", waits_for(files), cost_s=2.0),
            *(Task(f"behind{at}", touch(file), cost_s=1.0) for at, file in enumerate(files)),
        ]
    )
    report = run(graph, pool)
    assert report.values["long"] is True
    assert all(len(record.attempts) == 1 for record in report.tasks.values())


def test_a_chain_stays_on_one_worker(pool: Processes) -> None:
    tasks = [Task("0", lambda: [os.getpid()])]
    tasks += [
        Task(str(at), lambda before: [*before, os.getpid()], (str(at - 1),)) for at in range(1, 300)
    ]
    (pids,) = run(Graph(tasks), pool).values.values()
    assert len(pids) == 300
    assert len(set(pids)) <= 2
    assert sum(before != after for before, after in pairwise(pids)) <= 5


def test_every_value_of_a_chain_can_be_kept(pool: Processes) -> None:
    tasks = [Task("0", lambda: 0)]
    tasks += [Task(str(at), lambda before: before + 1, (str(at - 1),)) for at in range(1, 100)]
    report = run(Graph(tasks), pool, keep="all")
    assert report.values == {str(at): at for at in range(100)}
    for record in report.tasks.values():
        (attempt,) = record.attempts
        assert record.ready_s is not None
        assert record.taken_s is not None
        assert record.ready_s <= record.taken_s <= attempt.started_s <= attempt.ended_s


def dies_at(wanted: int, at: int) -> Callable[..., int]:
    def action(before: int = -1) -> int:
        if at == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return before + 1

    return action


def test_a_death_in_a_chain_fails_one_task_and_those_behind_it(pool: Processes) -> None:
    tasks = [Task("0", dies_at(40, 0))]
    tasks += [Task(str(at), dies_at(40, at), (str(at - 1),)) for at in range(1, 80)]
    starts = Starts()
    report = run(Graph(tasks), pool, policy=CONTINUE_ON_FAILURE, observers=[starts])
    assert deaths(report) == ["40"]
    assert starts.names == [str(at) for at in range(41)]
    assert report.counts == {
        Status.SUCCEEDED: 40,
        Status.FAILED: 1,
        Status.UPSTREAM_FAILED: 39,
    }


def test_what_follows_a_call_that_fails_is_not_told_as_started(pool: Processes) -> None:
    def fail(_: int) -> None:
        raise ValueError

    tasks = [Task("0", lambda: 0)]
    tasks += [Task(str(at), lambda before: before, (str(at - 1),)) for at in range(1, 20)]
    tasks += [Task("20", fail, ("19",), retries=1)]
    tasks += [Task(str(at), lambda before: before, (str(at - 1),)) for at in range(21, 40)]
    starts = Starts()
    run(Graph(tasks), pool, observers=[starts])
    assert starts.names == [*(str(at) for at in range(20)), "20", "20"]


def test_a_line_that_is_full_is_tried_again(
    pool: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing rings then: all workers are idle."""
    post = WorkerHandle.post
    failures = iter([False] * 5)
    monkeypatch.setattr(WorkerHandle, "post", lambda worker: next(failures, True) and post(worker))
    tasks = [Task(f"t{at}", pid) for at in range(20)]
    assert run(Graph(tasks), pool).succeeded


def test_a_chain_goes_on_elsewhere_with_its_value_after_a_death(
    pool: Processes, tmp_path: Path
) -> None:
    mark = str(tmp_path / "mark")

    def dies_once(before: list[int]) -> list[int]:
        if not os.path.exists(mark):  # noqa: PTH110
            open(mark, "w").close()  # noqa: PTH123
            before.append(99)  # in its own copy only
            os.kill(os.getpid(), signal.SIGKILL)
        return [*before, 5]

    tasks = [Task("0", lambda: [0])]
    tasks += [Task(str(at), lambda before: [*before, 1], (str(at - 1),)) for at in range(1, 5)]
    tasks += [Task("5", dies_once, ("4",), retries=1)]
    tasks += [Task(str(at), lambda before: [*before, 1], (str(at - 1),)) for at in range(6, 9)]
    report = run(Graph(tasks), pool)
    assert deaths(report) == ["5"]
    assert report.values == {"8": [0, 1, 1, 1, 1, 5, 1, 1, 1]}
    attempts = [len(record.attempts) for record in report.tasks.values()]
    assert attempts == [1, 1, 1, 1, 1, 2, 1, 1, 1]


def test_what_was_queued_at_a_dead_worker_runs_elsewhere_uncounted(tmp_path: Path) -> None:
    """One worker, many calls at hand, and each tenth one kills it."""

    def action(at: int) -> Callable[[], int]:
        def die_or_not() -> int:
            if at % 10 == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return at

        return die_or_not

    tasks = [*quick(100), *(Task(f"t{at}", action(at), cost_s=1.0) for at in range(60))]
    with Processes(1) as single:
        report = run(Graph(tasks), single, policy=CONTINUE_ON_FAILURE)
    assert deaths(report) == [f"t{at}" for at in range(5, 60, 10)]
    assert all(len(record.attempts) == 1 for record in report.tasks.values())
    assert report.counts == {Status.SUCCEEDED: 154, Status.FAILED: 6}


def test_a_call_that_a_stopped_worker_never_began_is_not_counted() -> None:
    """An idle worker is stopped; the other one makes its calls."""
    with Processes(2) as own:
        (victim, _) = own._pool.workers.values()
        stop(victim.body.pid)
        # `pid` would import this module there, and pytest with it, which takes a second.
        tasks = [Task(f"t{at}", os.getpid, timeout_s=3.0) for at in range(6)]
        report = run(Graph(tasks), own)
    assert report.succeeded
    assert all(len(record.attempts) == 1 for record in report.tasks.values())


@pytest.fixture
def stopped() -> Iterator[tuple[Processes, WorkerHandle]]:
    """A pool of one worker that was stopped while idle, and the worker."""
    with Processes(1) as own:
        (victim,) = own._pool.workers.values()
        stop(victim.body.pid)
        yield own, victim


def test_an_only_worker_that_was_stopped_while_idle_is_replaced(
    stopped: tuple[Processes, WorkerHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call has begun, so no deadline ends the worker."""
    own, victim = stopped
    monkeypatch.setattr(dispatch, "UNRESPONSIVE_S", 0.2)
    report = run(Graph([Task(f"t{at}", pid) for at in range(6)]), own, keep="all")
    assert victim.body.wait() == -signal.SIGKILL
    assert [len(record.attempts) for record in report.tasks.values()] == [1] * 6
    assert report.succeeded
    assert victim.body.pid not in report.values.values()


def test_a_worker_that_goes_on_after_it_was_stopped_gets_calls_again(
    stopped: tuple[Processes, WorkerHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, victim = stopped
    monkeypatch.setattr(dispatch, "UNRESPONSIVE_S", 3600.0)
    resume = threading.Timer(0.3, os.kill, (victim.body.pid, signal.SIGCONT))
    resume.start()
    report = run(Graph([Task(f"t{at}", pid) for at in range(6)]), own, keep="all")
    resume.join()
    assert set(report.values.values()) == {victim.body.pid}


def test_a_timeout_ends_its_call_and_not_the_next_one(pool: Processes) -> None:
    """Deadlines run from the start, not from when a call is queued."""
    tasks = [Task(f"nap{at}", lambda: time.sleep(0.1), timeout_s=2.0) for at in range(50)]
    tasks.append(Task("slow", lambda: time.sleep(60), timeout_s=2.0))
    report = run(Graph(tasks), pool, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["slow"].error, TaskTimeout)
    assert report.counts == {Status.SUCCEEDED: 50, Status.FAILED: 1}


def test_nothing_that_was_queued_starts_after_a_failure() -> None:
    """One worker: it fails its first call after the short ones; the rest was at hand."""

    def fail() -> None:
        raise ValueError

    late = [Task(f"late{at}", lambda: time.sleep(0.05), cost_s=1.0) for at in range(100)]
    tasks = [*quick(100), Task("fail", fail, cost_s=2.0), *late]
    with Processes(1) as single:
        report = run(Graph(tasks), single, policy=STOP_ON_FAILURE)
    started = [record for record in report.tasks.values() if record.attempts]
    assert 101 <= len(started) <= 101 + 3
    assert report.counts[Status.NOT_STARTED] == 201 - len(started)


def test_long_tasks_are_not_given_in_advance(pool: Processes) -> None:
    """With two workers and naps, both are busy to the end: no share is decided beforehand."""
    report = run(Graph([Task(f"t{at}", lambda: time.sleep(0.15)) for at in range(9)]), pool)
    work_s = sum(record.duration_s for record in report.tasks.values())
    assert report.makespan_s < 0.75 * work_s


@pytest.mark.parametrize("size", [10, 50_000])
def test_what_was_logged_before_a_death_is_not_lost(
    pool: Processes, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    def action() -> None:
        logging.getLogger("last").warning("words %s", "x" * size)
        os.kill(os.getpid(), signal.SIGKILL)

    report = run(Graph([Task("t", action)]), pool)
    assert isinstance(report.tasks["t"].error, WorkerDied)
    assert [record.getMessage() for record in caplog.records if record.name == "last"] == [
        "words " + "x" * size
    ]


def test_lines_printed_before_a_death_are_not_lost(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)

    def action() -> None:
        print("a line")  # noqa: T201
        os.kill(os.getpid(), signal.SIGKILL)

    with Processes(1) as own:
        run(Graph([Task("t", action)]), own)
    assert capfd.readouterr().out == "a line\n"


def test_threads_of_an_action_may_log_while_it_ends(
    pool: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    def action() -> int:
        def log() -> None:
            for at in range(200):
                logging.getLogger("thread").warning("%d", at)

        threads = [threading.Thread(target=log) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads[1:]:
            thread.join()
        return 7

    tasks = [Task(f"t{at}", action) for at in range(4)]
    report = run(Graph(tasks), pool)
    assert set(report.values.values()) == {7}
    run(Graph([Task("last", lambda: time.sleep(0.2))]), pool)  # what comes late comes too
    assert len([record for record in caplog.records if record.name == "thread"]) >= 4 * 600


def test_a_worker_whose_pipe_was_misused_is_replaced(pool: Processes) -> None:
    """Something writes to every descriptor that it has; only that task fails."""

    def scribble() -> None:
        for descriptor in range(3, 60):
            try:
                os.write(descriptor, b"\xff" * 4096)
            except OSError:
                pass
        time.sleep(60)

    graph = Graph([Task("bad", scribble, timeout_s=3.0), *quick(20)])
    report = run(graph, pool, policy=CONTINUE_ON_FAILURE)
    assert report.counts == {Status.SUCCEEDED: 20, Status.FAILED: 1}


def test_an_action_that_closes_all_files_fails_alone(pool: Processes) -> None:
    graph = Graph([Task("bad", lambda: os.closerange(3, 200)), *quick(20)])
    report = run(graph, pool, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["bad"].error, WorkerDied)
    assert report.counts == {Status.SUCCEEDED: 20, Status.FAILED: 1}


def test_workers_that_die_again_and_again_do_not_stop_the_run() -> None:
    def die(_: Any = None) -> None:
        os._exit(3)

    with Processes(2) as own:
        tasks = [Task(f"die{at}", die) for at in range(30)]
        report = run(Graph([*tasks, *quick(30)]), own, policy=CONTINUE_ON_FAILURE)
    assert report.counts == {Status.SUCCEEDED: 30, Status.FAILED: 30}
