"""What ZenML offers inside steps, on ZenML's own orchestrator and on both of ours.

The subjects are those of ZenML's functional tests (tests/integration/functional, 0.98): contexts,
materializers, metadata, tags, hooks, logs, external artifacts and models. On `local`, `nox -s soak`
runs them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from zenml import ExternalArtifact, Model, get_pipeline_context, pipeline
from zenml.client import Client
from zenml.enums import ExecutionMode, ModelStages
from zenml.models import PipelineRunResponse

from tests.executors.zenml import told
from tests.executors.zenml.conftest import in_use
from tests.executors.zenml.steps import last_run, ran
from tests.executors.zenml.test_steps import logged

FAIL_FAST = ExecutionMode.FAIL_FAST


@pytest.fixture(
    params=[pytest.param("local", marks=pytest.mark.soak), "threaded", "process"], autouse=True
)
def flavor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "local":
        monkeypatch.setenv(told.FOLDER, str(tmp_path))
        Client().activate_stack("default")
        yield request.param
        return
    with in_use(request.param, tmp_path, monkeypatch):
        yield request.param


@pytest.fixture
def features() -> Any:
    from tests.executors.zenml import features

    return features


@pytest.fixture
def name() -> str:
    """A new name for an artifact or a model."""
    return f"tested-{uuid.uuid4()}"


def of(body: Callable[[], object], **settings: Any) -> PipelineRunResponse:
    """The run of a pipeline with this body."""

    def tested() -> None:
        body()

    decorate: Any = pipeline(enable_cache=False, **settings)
    return ran(decorate(tested))


def value(run: PipelineRunResponse, step: str) -> Any:
    return run.steps[step].output.load()


# -- contexts -------------------------------------------------------------------------------------


def test_a_pipeline_has_a_context_while_it_is_composed_and_its_steps_have_theirs(
    features: Any,
) -> None:
    seen: list[Any] = []

    def body() -> None:
        context = get_pipeline_context()
        seen.append((context.name, context.enable_cache, context.extra))
        features.looks()

    run = of(body, name="has_context", extra={"some": "value"})
    assert seen[-1] == ("has_context", False, {"some": "value"})
    assert value(run, "looks") == {
        "pipeline": "has_context",
        "run": str(run.id),
        "extra": {"some": "value"},
        "inside": "a step",
    }
    with pytest.raises(RuntimeError):
        get_pipeline_context()


def test_materializers_see_the_step_that_they_work_for(features: Any) -> None:
    run = of(lambda: features.reads(features.signs()))
    assert value(run, "reads") == "stored by signs for reads"


def test_metadata_and_tags_reach_artifact_and_step(features: Any) -> None:
    run = of(lambda: features.reads_notes(features.notes()))
    assert value(run, "reads_notes") == "artifact"
    noted = run.steps["notes"].outputs["noted"][0]
    assert noted.run_metadata["kind"] == "artifact"
    assert noted.run_metadata["more"] == 2
    assert [tag.name for tag in noted.tags] == ["tested"]
    assert run.steps["notes"].run_metadata["kind"] == "step"


# -- hooks and logs -------------------------------------------------------------------------------


def test_hooks_run_inside_steps_with_recorded_outputs(features: Any) -> None:
    run = of(features.hooks)
    found = Client().list_hook_invocations(pipeline_run_id=run.id, hook_type=features.CUSTOM)
    outputs = {
        hook.name: [output[0].load() for output in hook.outputs.values()] for hook in found.items
    }
    assert outputs == {"twice": [42], "recorded": ["value"]}
    assert {hook.step_run_id for hook in found.items} == {run.steps["hooks"].id}


def test_hooks_of_steps_see_the_step(features: Any, name: str) -> None:
    of(lambda: features.gives.with_options(on_success=features.on_success)(1))
    failing = features.fails_with_model.with_options(on_failure=features.on_failure)
    with pytest.raises(ValueError, match=f"with {name}"):
        of(failing, model=Model(name=name), execution_mode=FAIL_FAST)
    assert list(features.EVENTS) == [
        "success of gives",
        f"with {name} in fails_with_model",
    ]


def test_all_lines_of_a_step_are_in_its_log_in_their_order(features: Any) -> None:
    run = of(features.speaks_much)
    text = logged(run.steps["speaks_much"], "step")
    places = [text.find(f"line {number} of many") for number in range(features.LINES)]
    assert -1 not in places
    assert places == sorted(places)


# -- artifacts ------------------------------------------------------------------------------------


def test_external_artifacts_are_inputs(features: Any) -> None:
    run = of(lambda: features.doubles(ExternalArtifact(value=21)))
    assert value(run, "doubles") == 42


def test_an_artifact_of_another_pipeline_is_an_input_by_name_and_version(
    features: Any, name: str
) -> None:
    first = of(lambda: features.gives(4), name=f"gives-{name}")
    given = first.steps["gives"].outputs["given"][0]
    of(lambda: features.gives(5), name=f"gives-{name}")
    run = of(lambda: features.doubles(Client().get_artifact_version("given", given.version)))
    assert value(run, "doubles") == 8
    assert run.steps["doubles"].inputs["value"][0].id == given.id


def test_a_step_saves_and_loads_artifacts_by_itself(features: Any, name: str) -> None:

    def body() -> None:
        features.keeps(name)
        features.finds(name, after=["keeps"])

    run = of(body)
    assert value(run, "finds") == name


def test_names_and_tags_of_outputs_may_have_placeholders(features: Any) -> None:
    step = features.named.with_options(substitutions={"which": "first"})
    run = of(lambda: step("abc"))
    (output,) = run.steps["named"].outputs["the_first"]
    assert output.load() == 3
    assert output.name == "the_first"
    assert "of a step" in [tag.name for tag in output.tags]


# -- models ---------------------------------------------------------------------------------------


def test_the_model_of_a_step_wins_over_that_of_its_pipeline(features: Any, name: str) -> None:
    other = f"{name}-other"

    def body() -> None:
        features.has_model(name, id="of_pipeline")
        features.has_model.with_options(model=Model(name=other))(other, id="of_step")
        features.has_model(name, id="again", after=["of_step"])

    run = of(body, model=Model(name=name))
    assert [value(run, one) for one in ("of_pipeline", "of_step", "again")] == ["1", "1", "1"]
    for model in (name, other):
        version = Client().get_model_version(model, ModelStages.LATEST)
        assert version.number == 1
        assert version.run_metadata["seen"] is True


def test_each_run_makes_one_version_which_knows_the_run_and_its_artifacts(
    features: Any, name: str
) -> None:
    def body() -> None:
        features.gives(1, id="one")
        features.gives(2, id="two")

    runs = [of(body, model=Model(name=name)) for _ in range(2)]
    for number, run in enumerate(runs, start=1):
        version = Client().get_model_version(name, str(number))
        linked = Client().list_model_version_artifact_links(model_version_id=version.id)
        assert {link.artifact_version.id for link in linked.items} == {
            step.output.id for step in run.steps.values()
        }
        known = Client().list_model_version_pipeline_run_links(model_version_id=version.id)
        assert [link.pipeline_run.id for link in known.items] == [run.id]


def doubles(features: Any, artifact: str) -> None:
    """Composes a pipeline that doubles an artifact of its model."""
    model = get_pipeline_context().model
    assert model is not None
    features.doubles(model.get_artifact(artifact))


def test_an_artifact_of_a_promoted_model_is_an_input(features: Any, name: str) -> None:
    of(lambda: features.promotes("production"), model=Model(name=name))
    run = of(partial(doubles, features, "promoted"), model=Model(name=name, version="production"))
    assert value(run, "doubles") == 14


def test_an_artifact_that_a_model_does_not_have_fails_the_run(features: Any, name: str) -> None:
    of(lambda: features.promotes("staging"), model=Model(name=name))
    with pytest.raises(Exception, match=r"doubles|nowhere"):
        of(partial(doubles, features, "nowhere"), model=Model(name=name, version="staging"))
    assert last_run().status != "completed"


def test_runs_after_a_failure_add_to_the_same_version(features: Any, name: str) -> None:
    def body() -> None:
        features.gives(1)
        features.fails_with_model(after=["gives"])

    for _ in range(2):
        with pytest.raises(ValueError, match=f"with {name}"):
            of(body, model=Model(name=name, version="mine"), execution_mode=FAIL_FAST)
    version = Client().get_model_version(name, "mine")
    linked = Client().list_model_version_artifact_links(model_version_id=version.id)
    assert len(linked.items) == 2
