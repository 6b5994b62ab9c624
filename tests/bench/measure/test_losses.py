"""What the workers of a run did while they ran no task."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from bench.measure.losses import Losses, losses_of
from executors import Graph, RunReport, Task, load_backend, run
from executors.backends.simulated import Overheads
from executors.contention import Demand
from tests.contract.model import Plan, plans

NONE = Overheads()
BACKENDS = ["sequential", "threads", "processes"]


def parts_s(report: RunReport, losses: Losses) -> float:
    """The sum of the parts, which is workers x makespan."""
    tasks_s = sum(record.duration_s for record in report.tasks.values())
    idle_s = losses.idle_handover_s + losses.idle_return_s
    idle_s += losses.idle_retry_s + losses.idle_graph_s
    return tasks_s + losses.retried_s + losses.reserved_s + idle_s + losses.idle_edges_s


def simulated(
    tasks: list[Task], workers: int, overheads: Overheads = NONE
) -> tuple[RunReport, Losses]:
    graph = Graph(tasks)
    report = run(graph, load_backend("simulated", workers, overheads=overheads))
    losses = losses_of(graph, report)
    assert parts_s(report, losses) == pytest.approx(workers * report.makespan_s)
    return report, losses


def task(name: str, cost_s: float, *needs: str, slots: int = 1) -> Task:
    return Task(name, abs, needs, cost_s=cost_s, slots=slots)


def test_a_chain_leaves_the_second_worker_without_a_ready_task() -> None:
    _, losses = simulated([task("a", 1), task("b", 2, "a"), task("c", 3, "b")], 2)
    assert losses.idle_graph_s == pytest.approx(6)
    assert losses.idle_order_s == 0


def test_a_long_task_at_the_end_is_forced_by_the_graph() -> None:
    tasks = [task(f"part{index}", 1) for index in range(4)]
    _, losses = simulated([*tasks, task("end", 5, *(one.name for one in tasks))], 2)
    assert losses.idle_graph_s == pytest.approx(5)
    assert losses.idle_order_s == 0


def test_a_long_task_that_starts_late_is_a_matter_of_order() -> None:
    graph = Graph([*(Task(f"short{index}", abs) for index in range(8)), Task("long", abs)])
    lengths_s = {one.name: 4.0 if one.name == "long" else 1.0 for one in graph.tasks}
    backend = load_backend("simulated", 2, demand=lambda one: Demand(lengths_s[one.name]))
    losses = losses_of(graph, run(graph, backend))
    assert losses.idle_graph_s == pytest.approx(4)  # 8 s of 2 workers, instead of 6
    assert losses.idle_order_s == pytest.approx(4)


def test_what_the_scheduler_takes_is_handing_over() -> None:
    tasks = [task(f"t{index}", 1) for index in range(6)]
    _, losses = simulated(tasks, 2, Overheads(task_s=0.5))
    assert losses.idle_graph_s == pytest.approx(0.5)  # of the last one of the two workers
    assert losses.idle_handover_s > 1
    assert losses.idle_edges_s == pytest.approx(1)  # both wait for the first task


def test_the_start_of_the_run_is_at_its_edge() -> None:
    _, losses = simulated([task("a", 1), task("b", 1)], 2, Overheads(run_s=3))
    assert losses.idle_edges_s == pytest.approx(6)


def test_slots_beyond_the_first_are_reserved() -> None:
    _, losses = simulated([task("wide", 2, slots=3), task("narrow", 1, "wide")], 3)
    assert losses.reserved_s == pytest.approx(4)
    assert losses.idle_graph_s == pytest.approx(2)


def test_a_task_that_waits_for_slots_is_not_being_handed_over() -> None:
    _, losses = simulated([task("narrow", 2), task("wide", 1, slots=2)], 2)
    assert losses.idle_handover_s == 0
    assert losses.idle_graph_s == pytest.approx(2)


def failing(times: int, path: Path) -> Callable[[], None]:
    """An action that fails at first; its attempts are counted in a file."""

    def action() -> None:
        with path.open("a") as calls:
            calls.write("x")
        time.sleep(0.02)
        if path.stat().st_size <= times:
            raise ValueError("not yet")

    return action


@pytest.mark.parametrize("backend", BACKENDS)
def test_failed_attempts_are_counted(backend: str, tmp_path: Path) -> None:
    graph = Graph([Task("flaky", failing(2, tmp_path / "calls"), retries=2, retry_delay_s=0.03)])
    report = run(graph, backend, workers=2)
    losses = losses_of(graph, report)
    attempts = report.tasks["flaky"].attempts
    assert losses.retried_s == pytest.approx(sum(one.duration_s for one in attempts[:-1]))
    assert losses.idle_retry_s >= 0.06 * report.workers * 0.99  # the delays
    assert parts_s(report, losses) == pytest.approx(report.workers * report.makespan_s)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=15)
@given(drawn=plans())
def test_the_parts_of_any_run_add_up(backend: str, drawn: list[Plan]) -> None:
    graph = Graph(
        Task(
            f"t{index}",
            lambda *_: time.sleep(0.0005),
            tuple(f"t{need}" for need in plan.needs),
            slots=plan.slots,
            context=plan.context,
        )
        for index, plan in enumerate(drawn)
    )
    with load_backend(backend, 3) as pool:
        report = run(graph, pool, measure_cpu=True)
    losses = losses_of(graph, report)
    assert parts_s(report, losses) == pytest.approx(report.workers * report.makespan_s, rel=1e-6)
    tasks_s = sum(record.duration_s for record in report.tasks.values())
    assert 0 <= losses.tasks_cpu_s <= tasks_s * (1 + 1e-9)
    order_s = losses.idle_order_s
    assert order_s is not None and 0 <= order_s <= losses.idle_graph_s
