"""What a task of Airflow runs, on Airflow's own machine, to make one step."""

from __future__ import annotations

from pathlib import Path

from zenml.entrypoints.step_entrypoint_configuration import StepEntrypointConfiguration
from zenml.utils import source_utils


class Entrypoint(StepEntrypointConfiguration):
    """ZenML's entrypoint, without the folder /app and the archive of a container.

    The current folder is the source root of the program that has submitted the run.
    """

    def prepare_code_environment(self) -> None:
        source_utils.set_custom_source_root(str(Path.cwd()))
