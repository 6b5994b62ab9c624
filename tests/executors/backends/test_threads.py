"""What only threads can do wrong: not stop, lose a wake-up, keep a value."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    Attempt,
    BackendError,
    Graph,
    Session,
    Status,
    Task,
    TaskStopped,
    TaskTimeout,
    run,
)
from executors.backends.threads import Threads


def test_a_chain_never_changes_threads() -> None:
    graph = Graph(
        [
            Task("t0", threading.get_ident),
            *(Task(f"t{i}", lambda _: threading.get_ident(), (f"t{i - 1}",)) for i in range(1, 50)),
        ]
    )
    with Threads(4) as pool:
        assert len(set(run(graph, pool, keep="all").values.values())) == 1


def test_all_workers_run_at_once() -> None:
    barrier = threading.Barrier(8)
    graph = Graph([Task(f"t{i}", lambda: barrier.wait(20)) for i in range(24)])
    with Threads(8) as pool:
        for _ in range(20):
            assert run(graph, pool).succeeded


@pytest.fixture(params=[0.005, 1e-6], ids=["usual", "hectic"])
def switch_interval(request: pytest.FixtureRequest) -> Iterator[None]:
    """The interpreter's thread switch; when hectic, threads meet each other inside the lock."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switch_interval")
def test_no_outcome_is_left_lying_in_many_short_runs() -> None:
    """The last task outlives the others, whose outcomes must not wait for it to be seen."""
    release = threading.Event()
    graph = Graph(
        [
            *(Task(f"t{i}", int) for i in range(30)),
            Task("last", lambda *_: release.set(), tuple(f"t{i}" for i in range(30))),
            Task("long", lambda: release.wait(20), cost_s=99),
        ]
    )
    with Threads(3) as pool:
        for _ in range(200):
            release.clear()
            assert run(graph, pool).values["long"] is True


@pytest.mark.usefixtures("switch_interval")
def test_no_wake_up_is_lost_in_many_short_waves() -> None:
    """Each wave needs all four threads at once; a thread left asleep would break the barrier."""
    barrier = threading.Barrier(4)
    tasks: list[Task] = []
    for wave in range(100):
        needs = tuple(f"t{wave - 1}.{i}" for i in range(4)) if wave else ()
        tasks += [Task(f"t{wave}.{i}", lambda *_: barrier.wait(20), needs) for i in range(4)]
    with Threads(4) as pool:
        assert run(Graph(tasks), pool).succeeded


def test_threads_are_started_when_needed_and_kept() -> None:
    before = threading.active_count()
    with Threads(500) as pool:
        run(Graph([Task("t", lambda: None)]), pool)
        assert threading.active_count() == before + 1
        run(Graph([Task(f"t{i}", lambda: time.sleep(0.01)) for i in range(3)]), pool)
        assert threading.active_count() <= before + 3
    assert threading.active_count() == before


def test_a_timeout_frees_its_place_though_the_thread_runs_on() -> None:
    release = threading.Event()
    graph = Graph(
        [
            Task("stuck", lambda: release.wait(30), timeout_s=0.1, cost_s=9),
            *(Task(f"t{i}", int) for i in range(5)),
        ]
    )
    with Threads(1) as pool:
        report = run(graph, pool, policy=CONTINUE_ON_FAILURE)
        error = report.tasks["stuck"].error
        assert isinstance(error, TaskTimeout)
        assert "cannot be stopped" in str(error)
        assert report.counts == {Status.SUCCEEDED: 5, Status.FAILED: 1}
        release.set()  # its late result is dropped
        assert run(Graph([Task("next", lambda: 1)]), pool).values == {"next": 1}


def test_fail_fast_gives_running_tasks_a_grace_and_then_leaves_them() -> None:
    release = threading.Event()

    failed = threading.Event()

    def fail() -> None:
        time.sleep(0.05)
        failed.set()
        raise ValueError

    graph = Graph(
        [
            Task("stuck", lambda: release.wait(30)),
            Task("short", lambda: failed.wait(20)),
            Task("fail", fail),
        ]
    )
    with Threads(3, grace_s=2.0) as pool:
        report = run(graph, pool)
    assert isinstance(report.tasks["stuck"].error, TaskStopped)
    assert report.tasks["stuck"].status is Status.STOPPED
    assert report.tasks["short"].status is Status.SUCCEEDED
    assert report.tasks["fail"].status is Status.FAILED
    release.set()


class Big:
    """A value that can be watched."""


def test_idle_threads_pin_no_values() -> None:
    watched: list[weakref.ref[Big]] = []

    def make() -> Big:
        big = Big()
        watched.append(weakref.ref(big))
        return big

    graph = Graph(
        [
            *(Task(f"make{i}", make) for i in range(6)),
            Task("end", lambda *_: None, tuple(f"make{i}" for i in range(6))),
        ]
    )
    with Threads(3) as pool:
        run(graph, pool)
        gc.collect()
        assert len(watched) == 6
        assert not [ref for ref in watched if ref() is not None]


def test_idle_threads_pin_no_errors_and_what_those_hold() -> None:
    watched: list[weakref.ref[Big]] = []

    def fail() -> None:
        big = Big()
        watched.append(weakref.ref(big))
        raise ValueError

    with Threads(3) as pool:
        run(Graph([Task("t", fail)]), pool)
        gc.collect()
        assert [ref() for ref in watched] == [None]


def test_errors_show_the_frames_of_the_action_only() -> None:
    def broken() -> None:
        raise ValueError

    with Threads(1) as pool:
        error = run(Graph([Task("t", broken)]), pool).tasks["t"].error
    assert error is not None
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_frame.f_code is broken.__code__


class SlowDeque(deque[Any]):
    """Lets other threads in at every append."""

    def append(self, item: Any) -> None:
        super().append(item)
        time.sleep(0.0005)


class LateDeque(deque[Any]):
    """Lets other threads in just before every append."""

    late_s = 0.0003

    def append(self, item: Any) -> None:
        time.sleep(self.late_s)
        super().append(item)


class SlowLock:
    """Is held for a while after its holder has done everything."""

    def __init__(self, held_s: float) -> None:
        self._held_s = held_s
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True) -> bool:
        return self._lock.acquire(blocking)

    def release(self) -> None:
        time.sleep(self._held_s)
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def test_no_wake_up_is_lost_when_threads_meet_in_every_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waves that need all four threads, while each window between two steps is held open."""
    barrier = threading.Barrier(4)
    tasks: list[Task] = []
    for wave in range(60):
        needs = tuple(f"t{wave - 1}.{i}" for i in range(4)) if wave else ()
        tasks += [Task(f"t{wave}.{i}", lambda *_: barrier.wait(5), needs) for i in range(4)]
    graph = Graph(tasks)
    with Threads(4) as pool:
        monkeypatch.setattr(pool._team, "_lock", SlowLock(0.0003))
        monkeypatch.setattr(pool._team, "_sleepers", LateDeque())
        for _ in range(3):
            run(graph, pool).raise_for_failures()


@pytest.mark.parametrize(("held_s", "late_s"), [(0.001, 0.0003), (0.0003, 0.001)])
def test_an_outcome_is_seen_though_its_worker_met_a_taken_lock(
    monkeypatch: pytest.MonkeyPatch, held_s: float, late_s: float
) -> None:
    """Two tasks end at once. One worker then waits for what the other one's outcome releases."""
    both = threading.Barrier(2)
    released = threading.Event()
    graph = Graph(
        [
            Task("a", lambda: both.wait(5)),
            Task("b", lambda: both.wait(5)),
            Task("wait", lambda _: released.wait(5), needs=("b",)),  # who comes last goes first
            Task("release", lambda _: released.set(), needs=("a",)),
        ]
    )
    with Threads(2) as pool:
        monkeypatch.setattr(pool._team, "_lock", SlowLock(held_s))
        monkeypatch.setattr(LateDeque, "late_s", late_s)
        monkeypatch.setattr(pool._team, "_sleepers", LateDeque())
        for _ in range(40):
            released.clear()
            assert run(graph, pool).values["wait"] is True


def test_a_task_that_ends_at_its_deadline_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts and returns at the same time; whoever claims the call, the pool stays whole."""
    with Threads(3) as pool:
        monkeypatch.setattr(pool._team, "_inbox", SlowDeque())
        for _ in range(15):
            tasks = [Task(f"t{i}", lambda: time.sleep(0.01), timeout_s=0.01) for i in range(12)]
            report = run(Graph(tasks), pool, policy=CONTINUE_ON_FAILURE)
            assert sum(report.counts.values()) == 12
            assert len(pool._team._pool) <= 3
        barrier = threading.Barrier(3)
        graph = Graph([Task(f"t{i}", lambda: barrier.wait(20)) for i in range(3)])
        assert run(graph, pool).succeeded


def test_a_timeout_finds_a_thread_that_is_only_being_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The new thread runs its task, and overruns, before its starter has come back."""
    start = threading.Thread.start

    def start_slowly(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "thread-1":
            time.sleep(0.3)

    release = threading.Event()
    monkeypatch.setattr(threading.Thread, "start", start_slowly)
    graph = Graph(
        [
            Task("first", int, cost_s=9),  # its thread starts the second one
            Task("late", lambda: release.wait(5), timeout_s=0.05, cost_s=1),
        ]
    )
    with Threads(2) as pool:
        report = run(graph, pool, policy=CONTINUE_ON_FAILURE)
    release.set()
    assert isinstance(report.tasks["late"].error, TaskTimeout)


def test_short_runs_that_end_by_timeout_leave_no_thread_half_started() -> None:
    for workers in (3, 8) * 15:
        tasks = [Task(f"t{i}", lambda: time.sleep(0.002), timeout_s=0.002) for i in range(12)]
        report = run(Graph(tasks), Threads(workers), policy=CONTINUE_ON_FAILURE)
        assert sum(report.counts.values()) == 12


def test_sleepers_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with Threads(4) as pool:
        monkeypatch.setattr(pool._team, "_sleepers", SlowDeque())
        for _ in range(30):
            run(Graph([Task(f"t{i}", lambda: time.sleep(0.0005)) for i in range(12)]), pool)
            sleepers = list(pool._team._sleepers)
            assert len(sleepers) == len(set(sleepers))
        barrier = threading.Barrier(4)
        graph = Graph([Task(f"t{i}", lambda: barrier.wait(20)) for i in range(4)])
        assert run(graph, pool).succeeded


def test_a_bug_in_the_scheduler_is_raised_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Session, attempt: Attempt, now_s: float) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Session, "finish", broken)
    with Threads(2) as pool, pytest.raises(ZeroDivisionError, match="a bug"):
        run(Graph([Task(f"t{i}", int) for i in range(5)]), pool)


def test_when_no_thread_can_be_started_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Threads(2) as pool:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(BackendError, match="no thread could be started"):
            run(Graph([Task("t", lambda: None)]), pool)
