"""Steps that use what ZenML offers inside steps: contexts, hooks, models, artifacts, metadata."""

from __future__ import annotations

import json
import logging
from pathlib import PurePosixPath
from typing import Annotated, Any

from zenml import (
    ArtifactConfig,
    get_pipeline_context,
    get_step_context,
    load_artifact,
    log_metadata,
    run_hook,
    save_artifact,
    step,
)
from zenml.enums import ArtifactType, HookType
from zenml.hooks.recording import record_hook_invocation
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer

from tests.executors.zenml.told import Events

EVENTS = Events()
LINES = 200
logger = logging.getLogger("zenml.tested")


class Signed:
    """A value whose materializer notes which step has stored it."""

    def __init__(self, text: str) -> None:
        self.text = text


class SignedMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES = (Signed,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA

    def save(self, data: Any) -> None:
        with fileio.open(str(PurePosixPath(self.uri) / "signed"), "w") as file:
            json.dump([data.text, get_step_context().step_run.name], file)

    def load(self, data_type: type[Any]) -> Signed:
        with fileio.open(str(PurePosixPath(self.uri) / "signed"), "r") as file:
            text, by = json.load(file)
        return Signed(f"{text} by {by} for {get_step_context().step_run.name}")


@step(output_materializers=SignedMaterializer)
def signs() -> Signed:
    return Signed("stored")


@step
def reads(signed: Signed) -> str:
    return signed.text


@step
def looks() -> dict[str, Any]:
    """What a step sees of its pipeline and run."""
    context = get_step_context()
    try:
        get_pipeline_context()
        inside = "a pipeline"
    except RuntimeError:
        inside = "a step"
    return {
        "pipeline": context.pipeline.name,
        "run": str(context.pipeline_run.id),
        "extra": context.pipeline_run.config.extra,
        "inside": inside,
    }


@step
def notes() -> Annotated[int, "noted"]:
    log_metadata(metadata={"kind": "artifact"}, infer_artifact=True)
    log_metadata(metadata={"kind": "step"})
    context = get_step_context()
    context.add_output_metadata({"more": 2}, output_name="noted")
    context.add_output_tags(["tested"], output_name="noted")
    return 42


@step
def reads_notes(value: int) -> str:
    return str(get_step_context().inputs["value"][0].run_metadata["kind"])


@step
def gives(value: int) -> Annotated[int, "given"]:
    return value


@step
def named(name: str) -> Annotated[int, ArtifactConfig(name="the_{which}", tags=["of a step"])]:
    return len(name)


@step
def doubles(value: int) -> int:
    return 2 * value


@step
def keeps(name: str) -> None:
    save_artifact({"kept": name}, name=name)


@step
def finds(name: str) -> str:
    return str(load_artifact(name)["kept"])


@step
def speaks_much() -> None:
    for number in range(LINES):
        logger.warning("line %d of many", number)


@step
def has_model(name: str) -> str:
    model = get_step_context().model
    assert model.name == name
    log_metadata(metadata={"seen": True}, infer_model=True)
    return str(model.version)


@step
def promotes(stage: str) -> Annotated[int, "promoted"]:
    get_step_context().model.set_stage(stage, force=True)
    return 7


@step
def fails_with_model() -> None:
    raise ValueError(f"with {get_step_context().model.name}")


def twice(value: int) -> int:
    return 2 * value


@step
def hooks() -> None:
    run_hook(twice, 21, store_return=True)
    record_hook_invocation(name="recorded", outputs={"result": "value"})


CUSTOM = HookType.CUSTOM


def on_success() -> None:
    EVENTS.append(f"success of {get_step_context().step_run.name}")


def on_failure(error: BaseException) -> None:
    EVENTS.append(f"{error} in {get_step_context().step_run.name}")
