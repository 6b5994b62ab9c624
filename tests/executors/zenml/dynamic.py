"""Dynamic pipelines; a module of its own, because their decorator opens ZenML's store."""

from __future__ import annotations

import os

from zenml import pipeline, step
from zenml.enums import StepRuntime

from tests.executors.zenml.steps import DO, EVENTS, act, on_cleanup, on_init, one, plus_one

SUBMITTED = 6


@pipeline(dynamic=True, enable_cache=False)
def submits() -> None:
    for submitted in [act.submit(f"s{number}", id=f"s{number}") for number in range(SUBMITTED)]:
        submitted.result()


@pipeline(dynamic=True, enable_cache=False, on_init=on_init, on_cleanup=on_cleanup)
def decides() -> None:
    if one("dynamic").load() == 1:
        plus_one(5, id="decided")


@step(enable_cache=False, runtime=StepRuntime.ISOLATED)
def apart(name: str) -> int:
    """Does what the test said for this name, in a process of its own; returns its id."""
    EVENTS.append(f"{name} started")
    print(f"{name} speaks")  # noqa: T201
    DO.get(name, lambda: None)()
    return os.getpid()


@pipeline(dynamic=True, enable_cache=False)
def isolates() -> None:
    steps = [apart.submit(name, id=name) for name in ("a", "b")]
    act("inline")
    for submitted in steps:
        submitted.result()


@pipeline(dynamic=True, enable_cache=False, on_init=on_init)
def isolates_one() -> None:
    apart("a", id="a")


@pipeline(dynamic=True, enable_cache=False)
def grows(to: int) -> None:
    for _ in range(to):
        last = plus_one.submit(one.submit("grows"))
    last.result()


@pipeline(dynamic=True)
def remembers() -> None:
    plus_one.submit(one.submit("remembers")).result()


@pipeline(dynamic=True, enable_cache=False)
def does_nothing() -> None:
    DO.get("nothing", lambda: None)()
