"""What the store has recorded of past runs, and that `bench recommend --pipeline` reads it."""

from __future__ import annotations

import time

import pytest
from click.testing import CliRunner
from zenml import pipeline
from zenml.client import Client
from zenml.config.retry_config import StepRetryConfig

from bench.cli import main
from bench.recommend.pipelines import recommend_for_pipeline
from executors.zenml.errors import NotRecorded
from executors.zenml.store.history import recorded_runs
from tests.executors.zenml.steps import DO, EVENTS, act, made_of, one

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
    assert result.output.startswith("pipeline recorded: ")
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


def test_the_needs_of_a_dynamic_pipeline_are_those_of_its_recorded_steps() -> None:
    from tests.executors.zenml import dynamic

    for to in (2, 3, 3):
        dynamic.grows(to)
    needs, runs = recorded_runs("grows")
    pairs = {"": "", "_2": "_2", "_3": "_3"}
    assert needs == {
        **{f"one{end}": () for end in pairs},
        **{f"plus_one{end}": (f"one{end}",) for end in pairs},
    }
    assert [(len(run.step_s), run.is_dynamic) for run in runs] == [(6, True)] * 2  # not the first
    result = CliRunner().invoke(main, ["recommend", "--pipeline", "grows", "--max-workers", "3"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("pipeline grows: threads with 3 workers\n")
    text = " ".join(result.output.split())
    assert "from the step times of 2 recorded runs" in text
    assert "The pipeline is dynamic" in text
    assert "ZenML's own orchestrator runs such steps on up to 10 threads as well" in text
    assert "would record their times alone" not in text
    assert "bench zenml install" not in text  # 3 workers are no gain


def test_a_step_that_was_retried_lasts_from_its_first_start() -> None:
    failed: list[float] = []

    def fail_once() -> None:
        time.sleep(0.3)
        if not failed:
            failed.append(time.monotonic())
            raise ValueError

    DO["flaky"] = fail_once

    @pipeline(enable_cache=False)
    def retried() -> None:
        act.with_options(retry=StepRetryConfig(max_retries=1, delay=1))("flaky", id="flaky")

    retried()
    _, (run,) = recorded_runs("retried")
    assert failed
    assert run.step_s["flaky"] > 1.6  # two attempts, and the delay
    assert run.idle_s + run.step_s["flaky"] == pytest.approx(run.wall_s)


def test_cached_steps_of_a_dynamic_pipeline_are_left_out() -> None:
    from tests.executors.zenml import dynamic

    dynamic.remembers()
    dynamic.remembers()
    needs, runs = recorded_runs("remembers")
    assert needs == {"one": (), "plus_one": ("one",)}
    assert len(runs) == 1
    assert "one" in runs[0].step_s


def test_a_dynamic_pipeline_without_steps_is_one_clear_line() -> None:
    from tests.executors.zenml import dynamic

    dynamic.does_nothing()
    result = CliRunner().invoke(main, ["recommend", "--pipeline", "does_nothing"])
    assert result.exit_code == 2
    assert "have no steps, or only cached ones" in " ".join(result.output.split())


def test_an_unknown_pipeline_is_one_clear_line() -> None:
    with pytest.raises(NotRecorded, match="ZenML's store has no pipeline 'nope'; its pipelines: "):
        recommend_for_pipeline("nope", None, "wait")
