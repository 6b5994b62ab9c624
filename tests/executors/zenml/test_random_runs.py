"""Random pipelines on 8 workers, with steps that fail, are retried or have variables of their own.

A run of each execution mode here; `nox -s soak` makes many.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from zenml.client import Client
from zenml.config.retry_config import StepRetryConfig

from executors import WorkerDied
from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    StepFailed,
    fail,
    last_run,
    made_of,
    statuses,
    use,
)
from tests.executors.zenml.told import Counter

pytestmark = pytest.mark.usefixtures("flavor")

STEPS = 16
RUNS = int(os.environ.get("SOAK_RUNS", "1"))
MODES = ["fail_fast", "stop_on_failure", "continue_on_failure"]


@dataclass
class Plan:
    """What one step is to do, and what it did.

    Attributes:
        failures: how many of its attempts fail.
        retries: how many it may repeat.
        variable: its own value of WHICH, or None.
        is_killed: its attempts fail because their worker is killed.
    """

    needs: list[str]
    failures: int
    retries: int
    variable: str | None
    is_killed: bool = False

    @property
    def fails(self) -> bool:
        return self.failures > self.retries


def planned(seed: int) -> dict[str, Plan]:
    choose = random.Random(seed)
    plans: dict[str, Plan] = {}
    for number in range(STEPS):
        needs = [name for name in plans if choose.random() < 0.12]
        retries = choose.choice([0, 0, 0, 1, 2])
        failures = choose.choice([0, 0, 0, 0, 1, 2]) if retries else choose.choice([0] * 11 + [1])
        variable = choose.choice([None, None, None, "x", "y"])
        plans[f"s{number}"] = Plan(needs, failures, retries, variable)
    return plans


def doing(name: str, plan: Plan, seconds: float) -> Callable[[], None]:
    attempts = Counter()

    def act() -> None:
        number = attempts()
        EVENTS.append(f"{name} begins")
        for _ in range(4):
            EVENTS.append(f"{name} sees {os.environ.get('WHICH')}")
            time.sleep(seconds / 4)
        if number <= plan.failures:
            if plan.is_killed:
                os.kill(os.getpid(), signal.SIGKILL)
            fail()

    return act


def blocked(plans: dict[str, Plan]) -> set[str]:
    """The steps that fail, and all that need them."""
    listed: set[str] = set()
    for name, plan in plans.items():  # needs come first
        if plan.fails or listed & set(plan.needs):
            listed.add(name)
    return listed


@pytest.mark.parametrize(
    "mode", [MODES[0], pytest.param(MODES[1], marks=pytest.mark.soak), MODES[2]]
)
@pytest.mark.parametrize("seed", range(RUNS))
def test_every_status_is_right(
    seed: int,
    mode: str,
    flavor: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    before = dict(os.environ)
    plans = planned(100 * seed + MODES.index(mode))
    choose = random.Random(seed)
    if flavor == "process":
        use(4)
    for name, plan in plans.items():
        plan.is_killed = flavor == "process" and seed % 3 == 0 and choose.random() < 0.5
        DO[name] = doing(name, plan, choose.choice([0.0, 0.02, 0.1]))
    pipeline = made_of(
        {name: plan.needs for name, plan in plans.items()},
        {
            name: {
                **({"retry": StepRetryConfig(max_retries=plan.retries)} if plan.retries else {}),
                **({"environment": {"WHICH": plan.variable}} if plan.variable else {}),
            }
            for name, plan in plans.items()
        },
        execution_mode=mode,
    )
    lost = blocked(plans)
    if lost:
        with pytest.raises(
            (StepFailed, WorkerDied) if mode == "fail_fast" else RuntimeError,
            match=r"on purpose|killed by SIGKILL|in step\(s\)",
        ):
            pipeline()
    else:
        pipeline()
    assert dict(os.environ) == before
    assert "database is locked" not in caplog.text
    attempts = {name: EVENTS.count(f"{name} begins") for name in plans}
    seen = {event for event in EVENTS if " sees " in event}
    assert seen <= {f"{name} sees {plan.variable}" for name, plan in plans.items()}

    stored = statuses(last_run())
    ended = {
        which: {name for name, status in stored.items() if name and status == which}
        for which in ("failed", "stopped")
    }
    assert stored.pop("") == ("failed" if lost else "completed")
    for name, status in stored.items():
        plan = plans[name]
        assert all(stored.get(need) == "completed" for need in plan.needs)
        if status == "completed":
            assert name not in lost
            assert attempts[name] == plan.failures + 1
        elif status == "failed":
            assert plan.fails
            assert attempts[name] == plan.retries + 1
        else:
            assert status == "stopped"
            assert mode == "fail_fast" or (mode == "stop_on_failure" and plan.retries)
    for name in set(plans) - set(stored):
        assert attempts[name] == 0
    if lost:
        assert "failed" in stored.values()
    if not lost or mode == "continue_on_failure":
        assert {name for name, status in stored.items() if status == "completed"} == (
            set(plans) - lost
        )
    said = [record.message for record in caplog.records if record.message.startswith("Steps ")]
    if lost:
        for which, names in ended.items():
            (listed,) = re.findall(rf"{which}: ([\w, ]+)", said[-1]) or [""]
            assert {name.strip() for name in listed.split(",") if name.strip()} == names
    unfinished = Client().list_run_steps(pipeline_run_id=last_run().id, size=100).items
    assert all(step.status.is_finished for step in unfinished)
