"""Cases and their order."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import pytest

from bench import BenchError
from bench.measure.options import RunOptions, continued
from bench.measure.plan import Plan, plan
from bench.results.case import Case
from executors import BackendError


def planned_for(**options: Any) -> Plan:
    usual = {"shapes": "fan-in,diamond", "kernel": "noop,sleep:1ms", "blocks": 3}
    return plan(RunOptions(**{**usual, **options}), cpus=2)


def test_the_baseline_is_always_measured_once() -> None:
    cases = planned_for(shapes="fan-in", kernel="noop", backends="threads", max_workers="3,1").cases
    assert cases == (
        Case("fan-in", "noop", "sequential", 1),
        Case("fan-in", "noop", "threads", 1),
        Case("fan-in", "noop", "threads", 3),
    )


def test_every_block_has_every_case_once_in_a_random_seeded_order() -> None:
    planned = planned_for(blocks=5)
    orders = []
    pool_orders = set()
    for block in range(5):
        pools = list(planned.block(block))
        pool_orders.add(tuple(pool for pool, _ in pools))
        assert len({pool for pool, _ in pools}) == len(pools)
        cases = [case for _, cases in pools for case in cases]
        assert all(case.pool == pool for pool, own in pools for case in own)
        assert Counter(cases) == Counter(planned.cases)
        assert cases == [case for _, own in planned_for(blocks=5).block(block) for case in own]
        orders.append(cases)
    assert len({tuple(order) for order in orders}) == 5
    assert len(pool_orders) == 5
    assert orders[0] != [case for _, own in planned_for(seed=1).block(0) for case in own]


def test_the_command_asks_for_the_same() -> None:
    options = planned_for(max_workers="1,2", backends="threads", precision=0.05).options
    assert options.command == (
        "bench run --shapes fan-in,diamond --kernel noop,sleep:1ms --backends threads"
        " --max-workers 1,2 --blocks 3 --seed 0 --precision 0.05"
    )
    assert RunOptions.of(asdict(options) | {"of a later version": 1}) == options


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        ({}, 7),
        ({"blocks": 3}, 3),
        ({"budget": "2m"}, 50),
        ({"precision": 0.1}, 50),
        ({"precision": 0.1, "blocks": 9}, 9),
    ],
)
def test_a_budget_or_a_precision_leaves_the_number_of_blocks_open(
    options: dict[str, Any], blocks: int
) -> None:
    assert planned_for(**{"blocks": None, **options}).blocks == blocks


def test_ceilings_are_measured_for_kernels_that_need_cpus() -> None:
    planned = planned_for(kernel="noop,sleep:1ms,native-cpu:1ms", max_workers="1,2,8")
    assert [(kernel.text, counts) for kernel, counts in planned.ceilings] == [
        ("native-cpu:1ms", [2])
    ]
    assert planned_for(kernel="native-cpu:1ms", max_workers="1").ceilings == []


def test_options_of_a_resumed_run_must_be_the_same() -> None:
    options = planned_for().options
    assert continued(options, {"kernel": "noop,sleep:1ms"}) is options
    with pytest.raises(BenchError, match="has 0 for --seed, not 4; leave the option out"):
        continued(options, {"seed": 4})


def test_what_ends_a_run_may_change_when_it_is_resumed() -> None:
    """One of them replaces all: more blocks would be useless within a budget that is spent."""
    options = planned_for(budget="2s").options
    assert continued(options, {"blocks": 15}) == replace(options, blocks=15, budget=None)
    assert continued(options, {"precision": 0.1}).blocks is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shapes": " , "}, "--shapes is empty"),
        ({"shapes": ""}, "--shapes is empty"),
        ({"shapes": "ring"}, "unknown shape"),
        ({"kernel": "gpu"}, "unknown kernel"),
        ({"backends": "parsl"}, "unknown backend 'parsl'; known backends: sequential"),
        ({"max_workers": "0"}, "--max-workers must list whole numbers of at least 1"),
        ({"max_workers": "2,-1"}, "--max-workers must list"),
        ({"max_workers": "two"}, "--max-workers must list"),
        ({"budget": "soon"}, "--budget must be a time like 90s or 2m, not 'soon'"),
        ({"budget": "0s"}, "--budget must be"),
        ({"payload": "1XB"}, "--payload must be sizes like"),
        ({"precision": 3.0}, "--precision must be between 0 and 1, not 3"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises((BenchError, BackendError), match=says):
        planned_for(**options)


def test_each_kernel_is_measured_with_each_payload() -> None:
    options = RunOptions(shapes="diamond", kernel="noop,sleep:1ms", payload="0,1kB,1000B")
    kernels = [kernel.text for kernel in plan(options, 2).kernels]
    assert kernels == ["noop", "noop+1kB", "sleep:1ms", "sleep:1ms+1kB"]
    assert "--payload 0,1kB,1000B" in options.command


def test_a_variable_that_sets_an_option_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "executors.backends.threads.Threads.environment", {"grace_s": "MY_GRACE"}, raising=False
    )
    monkeypatch.setenv("MY_GRACE", "2")
    made = plan(RunOptions(backends="threads"), 2)
    assert made.options.backend_option == ("threads.grace_s=2",)
    given = RunOptions(backends="threads", backend_option=("threads.grace_s=3",))
    assert plan(given, 2).options.backend_option == ("threads.grace_s=3",)
