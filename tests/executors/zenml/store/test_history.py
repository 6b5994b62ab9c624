"""What the store has recorded of past runs, and that `bench recommend --pipeline` reads it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from zenml import pipeline
from zenml.client import Client

from bench.cli import main
from bench.recommend.pipelines import recommend_for_pipeline
from executors.zenml.errors import InstallError
from executors.zenml.store.history import recorded_runs
from tests.executors.zenml.steps import EVENTS, made_of, one

pytestmark = pytest.mark.usefixtures("threaded")

NEEDS: dict[str, list[str]] = {
    "start": [],
    "left": ["start"],
    "right": ["start"],
    "end": ["left", "right"],
}


def test_a_run_of_zenmls_own_orchestrator_is_recorded() -> None:
    before = Client().active_stack_model.id
    Client().activate_stack("default")
    try:
        run = made_of(NEEDS, name="recorded")()
    finally:
        Client().activate_stack(before)
    ran = len(EVENTS)
    assert run.pipeline is not None
    needs, (recorded, *_) = recorded_runs(run.pipeline.name)
    assert {name: set(needed) for name, needed in needs.items()} == {
        name: set(needed) for name, needed in NEEDS.items()
    }
    assert recorded.orchestrator == "local"
    assert set(recorded.step_s) == set(NEEDS)
    assert recorded.is_serial
    assert recorded.idle_s + sum(recorded.step_s.values()) == pytest.approx(recorded.wall_s)
    result = CliRunner().invoke(main, ["recommend", "--pipeline", "recorded"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("pipeline recorded, from 1 recorded run: ")
    assert len(EVENTS) == ran  # nothing ran


def test_cached_steps_are_left_out() -> None:
    @pipeline
    def build() -> None:
        one("recommend")

    build()
    build()  # all its steps are cached
    needs, runs = recorded_runs("build")
    assert needs == {"one": ()}
    assert [set(run.step_s) for run in runs] == [{"one"}]


def test_an_unknown_pipeline_is_one_clear_line() -> None:
    with pytest.raises(InstallError, match="ZenML's store has no pipeline 'nope'; its pipelines: "):
        recommend_for_pipeline("nope", None, "wait")
