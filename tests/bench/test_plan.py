"""Cases and their order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bench import BenchError
from bench.plan import Case, Plan, default_workers, plan
from executors import BackendError


def made(**options: Any) -> Plan:
    defaults: dict[str, Any] = {
        "shapes": "fan-in,diamond",
        "kernels": "noop,sleep:1ms",
        "backends": None,
        "max_workers": None,
        "blocks": 3,
        "seed": 0,
        "cpus": 2,
    }
    return plan(**{**defaults, **options})


@pytest.mark.parametrize(
    ("cpus", "waits", "counts"),
    [
        (1, False, [1]),
        (2, False, [1, 2]),
        (2, True, [1, 2, 4, 8]),
        (6, False, [1, 2, 4, 6]),
        (6, True, [1, 2, 4, 6, 12, 24]),
        (8, False, [1, 2, 4, 8]),
    ],
)
def test_default_workers(cpus: int, waits: bool, counts: list[int]) -> None:
    assert default_workers(cpus, waits) == counts


def test_the_baseline_is_always_measured_once() -> None:
    cases = made(shapes="fan-in", kernels="noop", backends="threads", max_workers="3,1").cases
    assert cases == (
        Case("fan-in", "noop", "sequential", 1),
        Case("fan-in", "noop", "threads", 1),
        Case("fan-in", "noop", "threads", 3),
    )


def test_every_block_has_every_case_once_in_a_random_seeded_order() -> None:
    planned = made()
    orders = []
    pool_orders = set()
    for block in range(5):
        pools = list(planned.block(block))
        pool_orders.add(tuple(pool for pool, _ in pools))
        assert len({pool for pool, _ in pools}) == len(pools)
        cases = [case for _, cases in pools for case in cases]
        assert all((case.backend, case.workers) == pool for pool, own in pools for case in own)
        assert Counter(cases) == Counter(planned.cases)
        assert cases == [case for _, own in made().block(block) for case in own]
        orders.append(cases)
    assert len({tuple(order) for order in orders}) == 5
    assert len(pool_orders) == 5
    assert orders[0] != [case for _, own in made(seed=1).block(0) for case in own]


def test_the_command_makes_the_same_plan() -> None:
    planned = made(max_workers="1,2", backends="threads")
    assert planned.command == (
        "bench run --shapes fan-in,diamond --kernel noop,sleep:1ms --backends threads"
        " --max-workers 1,2 --blocks 3 --seed 0"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shapes": " , "}, "--shapes is empty"),
        ({"shapes": "ring"}, "unknown shape"),
        ({"kernels": "gpu"}, "unknown kernel"),
        ({"backends": "ray"}, "unknown backend 'ray'; there are: sequential"),
        ({"max_workers": "0"}, "--max-workers must be whole numbers of at least 1"),
        ({"max_workers": "2,-1"}, "--max-workers must be"),
        ({"max_workers": "two"}, "--max-workers must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises((BenchError, BackendError), match=says):
        made(**options)
