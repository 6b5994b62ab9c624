"""The simulated backend against truths that can be worked out by hand, or by brute force."""

from __future__ import annotations

import heapq
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors import (
    CONTINUE_ON_FAILURE,
    BackendError,
    Graph,
    Observer,
    Status,
    Task,
    TaskTimeout,
    backend_names,
    load_backend,
    run,
)
from executors.backends.simulated import Overheads, Simulated
from executors.contention import Demand, Machine, stretches
from executors.core.records import Attempt, Call


def never(*_: object) -> None:
    raise AssertionError("a simulated task was run")


def task(name: str, cost_s: float, *needs: str) -> Task:
    return Task(name, never, needs, cost_s=cost_s)


def fan(width: int, cost_s: float = 1.0) -> Graph:
    return Graph(task(f"part{index}", cost_s) for index in range(width))


def makespan_s(graph: Graph, workers: int, **options: object) -> float:
    return run(graph, load_backend("simulated", workers, **options), keep="none").makespan_s


def test_nothing_is_run_and_the_report_is_on_the_virtual_clock() -> None:
    graph = Graph([task("a", 2.0), task("b", 3.0, "a"), task("c", 1.0, "a")])
    backend = Simulated(2)
    report = run(graph, backend)
    assert report.succeeded
    assert report.makespan_s == 5.0
    ends = {name: record.attempts[-1].ended_s for name, record in report.tasks.items()}
    assert ends == {"a": 2.0, "b": 5.0, "c": 3.0}
    assert report.values == {"b": None, "c": None}
    again = run(graph, backend)  # the clock goes on
    assert (again.started_s, again.makespan_s) == (5.0, 5.0)


def test_it_is_loaded_by_name_but_not_among_those_that_run_tasks() -> None:
    assert "simulated" not in backend_names()
    assert load_backend("simulated", 3).workers == 3
    with pytest.raises(BackendError, match="did you mean 'simulated'"):
        load_backend("simulatd")


def list_scheduled_s(graph: Graph, workers: int) -> float:
    """Graham's list scheduling, most urgent first, written down a second time."""
    missing = [len(needs) for needs in graph.needs]
    ready = [rank for rank, count in enumerate(missing) if not count]
    running: list[tuple[float, int]] = []
    now_s = 0.0
    while ready or running:
        while ready and len(running) < workers:
            rank = heapq.heappop(ready)
            heapq.heappush(running, (now_s + (graph.ranked[rank].cost_s or 0.0), rank))
        now_s = running[0][0]
        while running and running[0][0] == now_s:
            _, rank = heapq.heappop(running)
            for dependent in graph.dependents[rank]:
                missing[dependent] -= 1
                if not missing[dependent]:
                    heapq.heappush(ready, dependent)
    return now_s


@given(seed=st.integers(0, 10**6), size=st.integers(1, 40), workers=st.integers(1, 9))
def test_without_overheads_it_is_list_scheduling(seed: int, size: int, workers: int) -> None:
    draw = random.Random(seed)
    names = [f"t{index}" for index in range(size)]
    graph = Graph(
        task(name, draw.choice([0.0, 1.0, 2.5, 4.0]), *draw.sample(names[:at], min(at, 2)))
        for at, name in enumerate(names)
    )
    assert makespan_s(graph, workers) == pytest.approx(list_scheduled_s(graph, workers))


@pytest.mark.parametrize(
    ("workers", "machine", "demand", "expected_s"),
    [
        (8, Machine.ideal(2), Demand(1.0), 4.0),  # 8 that compute, 2 cores
        (8, Machine((1.0, 1.6)), Demand(1.0), 5.0),  # cores that slow each other down
        (8, Machine.ideal(2), Demand(1.0, cpu=0.0), 1.0),  # 8 that wait
        (8, Machine.ideal(2), Demand(1.0, cpu=0.25), 1.0),  # 2 cores' worth of work
        (8, Machine.ideal(1), Demand(1.0, cpu=0.25), 2.0),  # a core does 2 s of work
        (8, Machine.ideal(4), Demand(1.0, cpu=1.0, gil=1.0), 2.0),  # no lock to share
        (8, Machine((1.0, 2.0, 3.0, 4.0), (1.0, 1.0)), Demand(1.0, 1.0, 1.0), 8.0),
        (8, Machine((1.0, 2.0, 3.0, 4.0), (1.0, 0.8)), Demand(1.0, 1.0, 1.0), 10.0),
        (8, Machine((1.0, 2.0, 3.0, 4.0), (1.0, 1.0)), Demand(1.0, 0.5, 0.5), 4.0),
        (1, Machine((1.0, 2.0), (1.0, 0.5)), Demand(1.0, 1.0, 1.0), 8.0),  # nobody to share with
    ],
)
def test_cores_and_lock_are_shared(
    workers: int, machine: Machine, demand: Demand, expected_s: float
) -> None:
    found_s = makespan_s(fan(8), workers, machine=machine, demand=lambda _: demand)
    assert found_s == pytest.approx(expected_s)


def test_tasks_that_wait_are_not_slowed_by_those_that_compute() -> None:
    """Two of 1 s on one core take 2 s; the one that waits 1 s is ready after that second."""
    demands = {"a": Demand(1.0), "b": Demand(1.0), "c": Demand(1.0, cpu=0.0)}
    graph = Graph(task(name, 1.0) for name in demands)
    backend = Simulated(3, machine=Machine.ideal(1), demand=lambda record: demands[record.name])
    ends = {name: record.attempts[-1].ended_s for name, record in run(graph, backend).tasks.items()}
    assert ends == {"a": pytest.approx(2.0), "b": pytest.approx(2.0), "c": pytest.approx(1.0)}


def test_who_waits_for_the_lock_needs_no_core_meanwhile() -> None:
    """2 Python and 1 native task need 2 cores, whatever a third one could do."""
    demands = {"a": Demand(1.0, 1.0, 1.0), "b": Demand(1.0, 1.0, 1.0), "c": Demand(1.0)}
    graph = Graph(task(name, 1.0) for name in demands)
    machine = Machine((1.0, 1.0, 3.0), (1.0, 1.0))
    backend = Simulated(3, machine=machine, demand=lambda record: demands[record.name])
    assert run(graph, backend).makespan_s == pytest.approx(3.0)  # 3 s of work, at the speed of 1


def test_who_holds_the_lock_holds_it_longer_where_cores_are_contested() -> None:
    """2 Python tasks are as one: with 2 native ones there are 3 shares of the only core."""
    times = stretches(Machine((1.0,), (1.0, 1.0)), [(1.0, 0.0), (1.0, 1.0)], [2, 2])
    assert times == pytest.approx([3.0, 6.0])


def test_a_lone_holder_waits_for_cores_only() -> None:
    """Nine tasks that compute and one that holds a lock which nobody else wants, on one core."""
    kinds, counts = [(1.0, 0.0), (0.5, 0.5)], [9, 1]
    with_lock = stretches(Machine((1.0,), (1.0, 1.0)), kinds, counts)
    assert with_lock == pytest.approx(stretches(Machine((1.0,)), kinds, counts))


def test_when_one_has_ended_the_others_are_faster() -> None:
    """1 s and 3 s of work on one core: the first ends after 2 s, then the second is alone."""
    graph = Graph([task("short", 1.0), task("long", 3.0)])
    report = run(graph, Simulated(2, machine=Machine.ideal(1)))
    ends = {name: record.attempts[-1].ended_s for name, record in report.tasks.items()}
    assert ends == {"short": pytest.approx(2.0), "long": pytest.approx(4.0)}


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 50)), min_size=1, max_size=4
    ),
    st.integers(1, 8),
)
def test_nobody_uses_more_than_there_is(kinds: list[tuple[float, float, int]], cores: int) -> None:
    parts = [(cpu, cpu * share) for cpu, share, _ in kinds]
    counts = [count for _, _, count in kinds]
    times = stretches(Machine(Machine.ideal(cores).cores, (1.0, 1.0)), parts, counts)
    assert all(stretch >= 1 - 1e-9 for stretch in times)
    used = [count / stretch for count, stretch in zip(counts, times, strict=True)]
    on_cores = sum(cpu * record for (cpu, _), record in zip(parts, used, strict=True))
    with_lock = sum(gil * record for (_, gil), record in zip(parts, used, strict=True))
    assert on_cores <= cores * (1 + 1e-3)
    assert with_lock <= 1 + 1e-3


def test_overheads_are_where_they_belong() -> None:
    """A run's own second; the scheduler's 0.1 s a task, one after the other; 0.01 s to wake up."""
    costs = Overheads(run_s=1.0, task_s=0.1, wake_s=0.01)
    report = run(fan(4), Simulated(2, overheads=costs))
    starts = [record.attempts[0].started_s for record in report.tasks.values()]
    assert starts == pytest.approx([1.11, 1.21, 2.21, 2.31])  # the later ones find them awake
    assert report.makespan_s == pytest.approx(3.31)


def test_ten_thousand_workers_cost_no_more_than_the_graph() -> None:
    assert makespan_s(fan(100), 10_000) == 1.0


def test_a_timeout_and_its_retries_are_simulated_too() -> None:
    slow = Task("slow", never, timeout_s=1.5, retries=1, retry_delay_s=2.0, cost_s=4.0)
    report = run(
        Graph([slow, task("after", 1.0, "slow"), task("aside", 3.0)]),
        Simulated(2),
        policy=CONTINUE_ON_FAILURE,
    )
    record = report.tasks["slow"]
    assert [(record.started_s, record.ended_s) for record in record.attempts] == [
        (0, 1.5),
        (3.5, 5.0),
    ]
    assert isinstance(record.error, TaskTimeout)
    assert report.tasks["after"].status is Status.UPSTREAM_FAILED
    assert report.tasks["aside"].status is Status.SUCCEEDED


def test_slots_are_respected() -> None:
    wide = Task("wide", never, slots=2, cost_s=1.0)
    assert makespan_s(Graph([wide, task("a", 1.0), task("b", 1.0)]), 2) == 2.0


def test_a_stop_ends_it() -> None:
    stop = threading.Event()
    stop.set()
    report = run(fan(3), Simulated(1), cancel=stop)
    assert report.stop_reason == "cancelled"
    assert not report.succeeded


def test_observers_hear_of_every_task() -> None:
    heard: list[str] = []

    class Listener(Observer):
        def task_started(self, call: Call) -> None:
            heard.append(f"{call.task.name} started")

        def task_ended(self, attempt: Attempt) -> None:
            heard.append(f"{attempt.task_name} ended")

    graph = Graph([task("a", 1.0), task("b", 1.0, "a")])
    run(graph, Simulated(1), observers=[Listener()])
    assert heard == ["a started", "a ended", "b started", "b ended"]


def test_a_task_of_unknown_length_is_refused_by_name() -> None:
    with pytest.raises(BackendError, match="task 'a' has no cost_s"):
        run(Graph([Task("a", never)]), Simulated(1))


@pytest.mark.parametrize("wrong", [(-1.0, 1.0, 0.0), (1.0, 1.5, 0.0), (1.0, 0.5, 0.6)])
def test_a_demand_that_is_none_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(BackendError, match="seconds must be >= 0"):
        Demand(*wrong)
