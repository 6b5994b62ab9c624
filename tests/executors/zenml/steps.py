"""Steps that do what a test says, and pipelines made of them.

ZenML loads steps and hooks by their import path, so they are at the top of a module.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from zenml import pipeline, step
from zenml.client import Client
from zenml.models import PipelineRunResponse

from executors.zenml.install import install

EVENTS: list[str] = []  # what steps and hooks say, in order
DO: dict[str, Callable[[], object]] = {}  # what a step does, by its name
WAIT_S = 20.0  # longest wait for another step; a test that gets there fails


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
def plus_one(value: int) -> int:
    EVENTS.append("plus_one ran")
    return value + 1


@step(enable_cache=False)
async def asynchronous() -> int:
    return 3


@step(enable_cache=False)
async def asleep() -> None:
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


def both(*actions: Callable[[], object]) -> Callable[[], None]:
    """One after the other."""

    def act() -> None:
        for action in actions:
            action()

    return act


def meets(*parties: str) -> None:
    """Makes these steps wait for each other: they end only if they run side by side."""
    barrier = threading.Barrier(len(parties))
    for party in parties:
        DO[party] = lambda: barrier.wait(WAIT_S)


def eventually(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


class Occupancy:
    """What steps do that run in groups of a size: wait for each other, then stay for a moment.

    Attributes:
        most: how many ran at the same time.
    """

    def __init__(self, size: int) -> None:
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(size)

    def run(self) -> None:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        self._barrier.wait(WAIT_S)
        time.sleep(0.05)  # for one too many to come
        with self._lock:
            self._running -= 1


def waits_for(event: threading.Event) -> Callable[[], None]:
    def wait() -> None:
        assert event.wait(WAIT_S)

    return wait


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


def use(max_workers: int) -> None:
    """Activates a stack whose orchestrator has that many workers."""
    install(f"threaded-{max_workers}", max_workers, activate=True)


def last_run() -> PipelineRunResponse:
    client = Client()
    return client.get_pipeline_run(client.list_pipeline_runs(sort_by="desc:created").items[0].id)


def statuses(run: PipelineRunResponse) -> dict[str, str]:
    """Of the run, under the empty name, and of its steps."""
    return {"": run.status.value} | {name: one.status.value for name, one in run.steps.items()}
