"""What a step may rely on: its values, its context, its log, its cache."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import pytest
from zenml import get_step_context, pipeline
from zenml.client import Client
from zenml.models import PipelineRunResponse, StepRunResponse

from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    asynchronous,
    made_of,
    meets,
    one,
    plus_one,
    ran,
    statuses,
    use,
)
from tests.executors.zenml.told import Occupancy

pytestmark = pytest.mark.usefixtures("flavor")


@pipeline(enable_cache=True)
def sums(salt: str) -> None:
    value = one(salt)
    plus_one(value, salt)
    plus_one(value, f"again on {salt}", id="again")


def test_values_reach_the_steps_that_need_them_and_are_cached(flavor: str) -> None:
    run = ran(partial(sums, flavor))
    assert [run.steps[name].output.load() for name in ("one", "plus_one", "again")] == [1, 2, 2]
    assert sorted(EVENTS) == ["one ran", "plus_one ran", "plus_one ran"]
    EVENTS.clear()
    assert set(statuses(ran(partial(sums, flavor))).values()) == {"completed", "cached"}
    assert EVENTS == []


@pipeline(enable_cache=False)
def waits() -> None:
    asynchronous()


def test_asynchronous_steps_run() -> None:
    assert ran(waits).steps["asynchronous"].output.load() == 3


def test_a_pipeline_can_be_called_from_a_running_event_loop() -> None:
    async def main() -> None:
        assert ran(waits).steps["asynchronous"].output.load() == 3

    asyncio.run(main())


def test_independent_steps_run_side_by_side() -> None:
    meets("a", "b", "c")
    made_of({"a": [], "b": [], "c": []})()


def test_no_more_steps_run_at_once_than_there_are_workers() -> None:
    use(2)
    names = [f"s{number}" for number in range(6)]
    occupancy = Occupancy(2)
    DO.update(dict.fromkeys(names, occupancy.run))
    made_of({name: [] for name in names})()
    assert occupancy.most == 2


def logged(what: PipelineRunResponse | StepRunResponse, source: str) -> str:
    """What ZenML has stored of a log."""
    collection = what.log_collection
    assert collection is not None
    logs = next(logs for logs in collection if logs.source == source)
    log_store = Client().active_stack.log_store
    log_store.flush(blocking=True)
    return " ".join(entry.message for entry in log_store.fetch(logs).items)


def test_each_step_has_its_own_context_and_log(monkeypatch: pytest.MonkeyPatch) -> None:
    from zenml import logger

    # ZenML stores what goes to the stream that was stdout at its import, which may be another one.
    monkeypatch.setattr(sys.stdout, "write", logger._wrapped_write(sys.stdout.write, "stdout"))
    meets("a", "b")
    for name in ("a", "b"):

        def speaks(name: str = name, meet: object = DO[name]) -> None:
            assert callable(meet)
            print(f"{name} speaks")  # noqa: T201
            meet()
            print(f"{name} ends")  # noqa: T201
            EVENTS.append(f"{name} is {get_step_context().step_run.name}")

        DO[name] = speaks
    run = made_of({"a": [], "b": []})()
    assert sorted(event for event in EVENTS if " is " in event) == ["a is a", "b is b"]
    for name, other in (("a", "b"), ("b", "a")):
        step = run.steps[name]
        text = logged(step, "step")
        assert f"{name} speaks" in text
        assert f"{name} ends" in text
        assert f"{other} speaks" not in text


def test_the_run_itself_is_logged_with_its_summary() -> None:
    run = made_of({"a": []})()
    assert "1 step in" in logged(run, "client")


def test_a_pipeline_called_inside_a_step_does_not_run() -> None:
    DO["outer"] = lambda: EVENTS.append(f"inner gave {waits()}")
    made_of({"outer": []})()
    assert EVENTS == ["outer started", "inner gave None", "outer ended"]


def test_the_installed_packages_are_looked_up_once_for_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from zenml.environment import Environment

    calls: list[None] = []

    def packages() -> list[str]:
        calls.append(None)
        return []

    monkeypatch.setattr(Environment, "get_python_packages", staticmethod(packages))
    run = made_of({"a": [], "b": ["a"]})()
    assert len(calls) == 1
    assert run.orchestrator_environment == run.client_environment


def test_statuses_of_a_diamond() -> None:
    run = made_of({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})()
    assert statuses(run) == dict.fromkeys(["", "a", "b", "c", "d"], "completed")
    assert EVENTS[0] == "a started"
    assert EVENTS[-1] == "d ended"
