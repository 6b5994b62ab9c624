"""Steps that do what a test says, and pipelines made of them.

ZenML loads steps and hooks by their import path, so they are at the top of a module.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from zenml import pipeline, step
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import PipelineRunResponse

from executors.zenml.install import install
from tests.executors.zenml.told import WAIT_S, Actions, Counter, Events, Flag, eventually

EVENTS = Events()
DO = Actions()
FLAVOR = "TESTED_FLAVOR"  # the variable that has the flavor of the stack in use


class StepFailed(Exception):
    """What a step of the tests raises."""


@step(enable_cache=False)
def act(name: str) -> None:
    """Does what the test said for this name."""
    EVENTS.append(f"{name} started")
    DO.get(name, lambda: None)()
    EVENTS.append(f"{name} ended")


@step
def one(salt: str) -> int:
    """Cached for runs with the same salt."""
    EVENTS.append("one ran")
    return 1


@step
def plus_one(value: int, salt: str = "") -> int:
    EVENTS.append("plus_one ran")
    return value + 1


@step(enable_cache=False)
async def asynchronous() -> int:
    return 3


@step(enable_cache=False)
async def asleep() -> None:
    EVENTS.append("asleep")
    try:
        await asyncio.sleep(WAIT_S)
    except asyncio.CancelledError:
        EVENTS.append("asleep was cancelled")
        raise


@pipeline(enable_cache=False)
def awaiting() -> None:
    asleep()


def on_init() -> str:
    EVENTS.append("init")
    return "state"


def on_cleanup() -> None:
    EVENTS.append("cleanup")


def on_failure(error: BaseException) -> None:
    EVENTS.append(f"failure hook {type(error).__name__}")
    DO.get("failure hook", lambda: None)()


def fail() -> object:
    raise StepFailed("on purpose")


def spin() -> object:
    """Python code that never ends by itself."""
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        time.sleep(0.01)
    return None


def stays_in_c() -> None:
    """C code that no interrupt ends; in the main thread of a process, a sleep would be ended."""
    if threading.current_thread() is threading.main_thread():
        sum(range(10**12))
    time.sleep(60)


def both(*actions: Callable[[], object]) -> Callable[[], None]:
    """One after the other."""

    def act() -> None:
        for action in actions:
            action()

    return act


def meets(*parties: str) -> None:
    """Makes these steps wait for each other: they end only if they run side by side."""
    arrived = Counter()

    def meet() -> None:
        arrived()
        eventually(lambda: arrived.has_come_to(len(parties)))

    for party in parties:
        DO[party] = meet


def waits_for(flag: Flag) -> Callable[[], None]:
    return flag.wait


def made_of(
    needs: Mapping[str, Sequence[str]],
    options: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: Any,
) -> Callable[[], PipelineRunResponse]:
    """A pipeline of `act` steps: what each needs, options of some of them, and its settings."""

    @pipeline(enable_cache=False, **settings)
    def tested() -> None:
        for name, before in needs.items():
            configured = act.with_options(**(options or {}).get(name, {}))
            configured(name, id=name, after=list(before))

    return partial(ran, tested)


def ran(pipeline_: Callable[[], PipelineRunResponse | None]) -> PipelineRunResponse:
    """The run of a pipeline that is called now; not for one inside a step, which has none."""
    run = pipeline_()
    assert run is not None
    return run


def use(max_workers: int, **configuration: object) -> None:
    """Activates a stack whose orchestrator has that many workers, of the flavor that is tested."""
    flavor = os.environ[FLAVOR]
    values = [f"{option}-{value}" for option, value in configuration.items()]
    name = "-".join([flavor, str(max_workers), *values])  # ZenML keeps what a name stands for
    install(name, max_workers, activate=True, flavor=f"local_{flavor}")
    if configuration:
        client = Client()
        client.update_stack_component(
            name, StackComponentType.ORCHESTRATOR, configuration=configuration
        )
        client.activate_stack(name)


def last_run() -> PipelineRunResponse:
    client = Client()
    return client.get_pipeline_run(client.list_pipeline_runs(sort_by="desc:created").items[0].id)


def statuses(run: PipelineRunResponse) -> dict[str, str]:
    """Of the run, under the empty name, and of its steps."""
    return {"": run.status.value} | {name: one.status.value for name, one in run.steps.items()}
