"""When an engine with more workers pays, judged by simulation."""

from __future__ import annotations

from typing import Any

import pytest

from bench.predict.prediction import TaskModel
from bench.recommend.engine import Costs, EngineAdvice, EngineAdvisor, value_costs
from bench.workloads.payload import NOTHING, Payload
from bench.workloads.shapes import sized
from executors import Graph, Task, load_backend
from executors.backends.simulated import Overheads
from executors.contention import Demand, Machine

LARGE = Payload(10**6)


class FakeProfiler:
    """Two cores, and one backend."""

    cpus = 2
    names = ("processes",)


def advisor(engine_task_s: float, engine_value_s: float = 0.0) -> EngineAdvisor:
    """Knows what each backend adds; the local one adds 10 us to a task and nothing to values."""
    made: Any = object.__new__(EngineAdvisor)
    made._profiler = FakeProfiler()
    made._name = "dask"
    made._payloads = [NOTHING, LARGE]
    free = {NOTHING: 0.0, LARGE: 0.0}
    made._engine = Costs(
        Overheads(0.005, engine_task_s, 0.001), {NOTHING: 0.0, LARGE: engine_value_s}
    )
    made._local = {
        "sequential": Costs(Overheads(), free),
        "processes": Costs(Overheads(0.0, 1e-5), free),
    }
    advisor: EngineAdvisor = made
    return advisor


def graph_of(spec: str, length_s: float) -> Graph:
    return Graph(
        Task(name, int, needs, cost_s=length_s) for name, needs in sized(spec).needs.items()
    )


def advise(advisor: EngineAdvisor, spec: str, workers: list[int]) -> EngineAdvice:
    machine = Machine.ideal(2)
    model = TaskModel(
        lambda task: Demand(task.cost_s or 0.0), {"sequential": machine, "processes": machine}
    )
    return advisor.advise(spec, graph_of(spec, 0.02), model, workers, 0.02)


def test_more_workers_pay_for_wide_graphs_of_long_tasks() -> None:
    advice = advise(advisor(0.001), "independent:width=64", [4, 16])
    four, sixteen = advice.offers[:2]
    assert four.local == "processes with 2"
    assert four.local_s == pytest.approx(32 * 0.02, rel=0.02)
    assert 1.6 < four.speedup < 2.0
    assert sixteen.speedup > four.speedup
    assert advice.worth is sixteen
    # 64 tasks wait 1 ms each for the scheduler, which local tasks of 2 ms take, two at a time.
    assert four.pays_from_s is not None
    assert 0.002 < four.pays_from_s < 0.006


def test_values_that_take_long_make_it_pay_later() -> None:
    advice = advise(advisor(0.001, engine_value_s=0.05), "independent:width=64", [8])
    without, with_values = advice.offers
    assert (without.payload, with_values.payload) == ("0", "1MB")
    assert without.pays_from_s is not None
    assert with_values.pays_from_s is not None
    assert with_values.pays_from_s > 3 * without.pays_from_s


def test_a_chain_never_pays() -> None:
    advice = advise(advisor(0.001), "chain:length=10", [4, 8])
    assert [offer.pays_from_s for offer in advice.offers] == [None] * 4
    assert advice.worth is None


def test_the_fewest_workers_that_are_nearly_as_fast_are_worth_it() -> None:
    advice = advise(advisor(1e-6), "independent:width=8", [4, 8, 16, 32])
    assert advice.worth is not None
    assert advice.worth.workers == 8


def test_values_take_time_only_if_there_are_any() -> None:
    with load_backend("threads", 2) as pool:
        costs = value_costs(pool, [NOTHING, Payload(30 * 10**6, is_array=True)])
    assert costs.pop(NOTHING) == 0.0
    (large_s,) = costs.values()
    assert large_s > 0.0
