"""Dynamic pipelines; a module of its own, because their decorator opens ZenML's store."""

from __future__ import annotations

from zenml import pipeline

from tests.executors.zenml.steps import act, on_cleanup, on_init, one, plus_one

SUBMITTED = 6


@pipeline(dynamic=True, enable_cache=False)
def submits() -> None:
    for step in [act.submit(f"s{number}", id=f"s{number}") for number in range(SUBMITTED)]:
        step.result()


@pipeline(dynamic=True, enable_cache=False, on_init=on_init, on_cleanup=on_cleanup)
def decides() -> None:
    if one("dynamic").load() == 1:
        plus_one(5, id="decided")


@pipeline(dynamic=True, enable_cache=False)
def grows(to: int) -> None:
    for _ in range(to):
        step = plus_one.submit(one.submit("grows"))
    step.result()


@pipeline(dynamic=True)
def remembers() -> None:
    plus_one.submit(one.submit("remembers")).result()


@pipeline(dynamic=True, enable_cache=False)
def does_nothing() -> None:
    pass
