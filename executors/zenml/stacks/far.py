"""Runs in containers, and runs that something else starts."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zenml.config import DockerSettings
from zenml.enums import StackComponentType

from executors.errors import BackendError

if TYPE_CHECKING:
    from zenml.models import StackResponse

AIRFLOW = "airflow"
WITHOUT_CONTAINERS = "executors.zenml.stacks.airflow_dag"
NO_IMAGE = "none"


def settings_of(
    stack: StackResponse, run_name: str, image: str | None, needs_code: bool = False
) -> dict[str, Any]:
    """The settings of a pipeline on a stack.

    Args:
        image: of its containers, not built; None: as ZenML does it.
        needs_code: the steps are in modules of the source root, not in installed ones.
    """
    (orchestrator,) = stack.components[StackComponentType.ORCHESTRATOR]
    settings: dict[str, Any] = {}
    if orchestrator.flavor_name == AIRFLOW:
        settings["orchestrator"] = {"dag_id": run_name}
        if orchestrator.configuration.get("custom_dag_generator") == WITHOUT_CONTAINERS:
            image, needs_code = NO_IMAGE, False  # its steps run from the source root itself
    if image is not None:
        settings["docker"] = DockerSettings(
            parent_image=image, skip_build=True, allow_download_from_artifact_store=needs_code
        )
    return settings


@contextmanager
def triggered(command: str | None, run_name: str) -> Iterator[Callable[[], None]]:
    """Starts a submitted run with a command, which ends with the context at the latest.

    Args:
        command: `{run}` in it stands for the name of the run.

    Yields:
        What raises a BackendError if the command has failed; to be called now and then.
    """
    if command is None:
        yield lambda: None
        return
    words = [word.replace("{run}", run_name) for word in shlex.split(command)]
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise BackendError(f"the command that starts runs does not start: {error}") from error

        def check() -> None:
            if process.poll():
                said.seek(0)
                lines = said.read().decode(errors="replace").strip().splitlines()
                raise BackendError(
                    f"the command that starts runs failed with exit code {process.returncode}:"
                    f" {shlex.join(words)}; its last line: {lines[-1] if lines else 'none'}"
                )

        try:
            yield check
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
