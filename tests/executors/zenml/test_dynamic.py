"""Dynamic pipelines: ZenML's own runner, with our number of workers."""

from __future__ import annotations

import os

import pytest
from zenml import pipeline

from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    Occupancy,
    StepFailed,
    act,
    fail,
    last_run,
    on_cleanup,
    on_init,
    one,
    plus_one,
    ran,
    statuses,
    use,
)

pytestmark = pytest.mark.usefixtures("threaded")

SUBMITTED = 6


@pipeline(dynamic=True, enable_cache=False)
def submits() -> None:
    for step in [act.submit(f"s{number}", id=f"s{number}") for number in range(SUBMITTED)]:
        step.result()


@pipeline(dynamic=True, enable_cache=False, on_init=on_init, on_cleanup=on_cleanup)
def decides() -> None:
    if one("dynamic").load() == 1:
        plus_one(5, id="decided")


def test_a_dynamic_pipeline_runs_on_max_workers_threads() -> None:
    use(2)
    occupancy = Occupancy(2)
    DO.update({f"s{number}": occupancy.run for number in range(SUBMITTED)})
    before = dict(os.environ)
    run = ran(submits)
    assert dict(os.environ) == before
    assert statuses(run)[""] == "completed"
    assert len(run.steps) == SUBMITTED
    assert occupancy.most == 2


def test_a_dynamic_pipeline_may_depend_on_values_and_has_hooks() -> None:
    run = ran(decides)
    assert run.steps["decided"].output.load() == 6
    assert EVENTS[0] == "init"
    assert EVENTS[-1] == "cleanup"


def test_a_failing_step_of_a_dynamic_pipeline_raises() -> None:
    DO["s0"] = fail
    with pytest.raises(StepFailed):
        submits()
    assert last_run().status == "failed"
