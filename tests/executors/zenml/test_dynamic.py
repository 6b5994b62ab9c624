"""Dynamic pipelines: ZenML's own runner, with our number of workers."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    Occupancy,
    StepFailed,
    fail,
    last_run,
    ran,
    statuses,
    use,
)


@pytest.fixture
def dynamic(threaded: None) -> Any:
    from tests.executors.zenml import dynamic

    return dynamic


def test_a_dynamic_pipeline_runs_on_max_workers_threads(dynamic: Any) -> None:
    use(2)
    occupancy = Occupancy(2)
    DO.update({f"s{number}": occupancy.run for number in range(dynamic.SUBMITTED)})
    before = dict(os.environ)
    run = ran(dynamic.submits)
    assert dict(os.environ) == before
    assert statuses(run)[""] == "completed"
    assert len(run.steps) == dynamic.SUBMITTED
    assert occupancy.most == 2


def test_a_dynamic_pipeline_may_depend_on_values_and_has_hooks(dynamic: Any) -> None:
    run = ran(dynamic.decides)
    assert run.steps["decided"].output.load() == 6
    assert EVENTS[0] == "init"
    assert EVENTS[-1] == "cleanup"


def test_a_failing_step_of_a_dynamic_pipeline_raises(dynamic: Any) -> None:
    DO["s0"] = fail
    with pytest.raises(StepFailed):
        dynamic.submits()
    assert last_run().status == "failed"
