"""What a pipeline would take on `local_threaded`, from its recorded runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pytest
from click.testing import CliRunner
from zenml import pipeline
from zenml.client import Client

from bench.cli import main
from bench.recommend.pipelines import recommend_for_pipeline
from executors.zenml.errors import InstallError
from executors.zenml.store.history import recorded_runs
from tests.executors.zenml.steps import DO, EVENTS, made_of, one

pytestmark = pytest.mark.usefixtures("threaded")

NEEDS: dict[str, list[str]] = {
    "start": [],
    "left": ["start"],
    "right": ["start"],
    "end": ["left", "right"],
}
SECONDS = {"start": 0.2, "left": 0.5, "right": 1.2, "end": 0.3}  # a first run adds 0.3 to some


@pytest.fixture
def recorded() -> Iterator[str]:
    """A pipeline with a run on ZenML's own orchestrator."""
    before = Client().active_stack_model.id
    Client().activate_stack("default")
    DO.update({name: partial(time.sleep, seconds) for name, seconds in SECONDS.items()})
    run = made_of(NEEDS)()
    assert run.pipeline is not None
    yield run.pipeline.name
    Client().activate_stack(before)


def test_a_pipeline_is_predicted_from_its_past_run(recorded: str) -> None:
    ran = len(EVENTS)
    found = recommend_for_pipeline(recorded, None, "wait")
    assert len(EVENTS) == ran  # nothing ran
    by_case = {(each.backend, each.workers): each.seconds for each in found.candidates}
    run = recorded_runs(recorded)[1][0]
    assert run.orchestrator == "local"
    assert by_case["sequential", 1] == pytest.approx(run.wall_s, rel=0.05)
    spared_s = by_case["sequential", 1] - by_case["threads", 2]
    assert spared_s == pytest.approx(run.step_s["left"], abs=0.15)
    assert found.pick is not None
    assert (found.pick.backend, found.pick.workers) == ("threads", 2)
    assert "Critical path: start > right > end." in found.reason
    assert "split or speed up first: right (" in found.reason
    assert found.command == "bench zenml install --max-workers 2 --activate"


def test_steps_that_hold_the_lock_gain_nothing(recorded: str) -> None:
    found = recommend_for_pipeline(recorded, None, "python")
    assert found.pick is not None
    assert found.pick.backend == "sequential"
    assert "keep ZenML's local orchestrator" in found.reason


def test_several_runs_give_a_range_and_cached_steps_are_left_out() -> None:
    @pipeline
    def build() -> None:
        one("recommend")

    build()
    build()  # all its steps are cached
    needs, runs = recorded_runs("build")
    assert needs == {"one": ()}
    assert [set(run.step_s) for run in runs] == [{"one"}]


def test_the_command_says_what_to_do(recorded: str) -> None:
    result = CliRunner().invoke(main, ["recommend", "--pipeline", recorded])
    assert result.exit_code == 0, result.output
    assert f"pipeline {recorded}, from " in result.output
    assert ": threads with 2 workers" in result.output


def test_an_unknown_pipeline_is_one_clear_line() -> None:
    with pytest.raises(InstallError, match="ZenML's store has no pipeline 'nope'; it has: "):
        recommend_for_pipeline("nope", None, "wait")
