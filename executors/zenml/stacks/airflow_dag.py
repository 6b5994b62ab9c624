"""Airflow DAGs whose tasks run steps on Airflow's own machine, without containers.

Register it with `--custom_dag_generator=executors.zenml.stacks.airflow_dag`. ZenML packs this file
alone, with a configuration, into a zip file that Airflow loads; so it uses nothing of this package,
and, when Airflow loads it, nothing of ZenML.

The names in capitals, the two classes and their fields are what ZenML's Airflow orchestrator
expects of such a module.
"""

from __future__ import annotations

import os
import shlex
import sys
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

CONFIG_FILENAME = "config.json"
ENV_ZENML_AIRFLOW_RUN_ID = "ZENML_AIRFLOW_RUN_ID"
ENTRYPOINT = "executors.zenml.stacks.airflow_step.Entrypoint"
SOURCE = "--entrypoint_config_source"
KEPT = ("ZENML_CONFIG_PATH", "ZENML_ACTIVE_STACK_ID", "ZENML_ACTIVE_PROJECT_ID")


class TaskConfiguration(BaseModel):
    """A step of the pipeline; the last two fields are of the program that submits it."""

    id: str
    zenml_step_name: str
    upstream_steps: list[str]
    command: list[str]
    arguments: list[str]
    environment: dict[str, str] = {}
    operator_args: dict[str, Any] = {}
    docker_image: str = ""  # unused, as the operator
    operator_source: str = ""
    python: str = Field(default_factory=lambda: sys.executable)
    kept: dict[str, str] = Field(
        default_factory=lambda: {name: os.environ[name] for name in KEPT if name in os.environ}
    )

    def bash(self) -> str:
        """The command that runs the step."""
        arguments = self.arguments.copy()
        if SOURCE in arguments:
            arguments[arguments.index(SOURCE) + 1] = ENTRYPOINT
        return shlex.join([self.python, *self.command[1:], *arguments])


class DagConfiguration(BaseModel):
    """The pipeline; the last field is of the program that submits it."""

    id: str
    tasks: list[TaskConfiguration]
    schedule: timedelta | str = Field(union_mode="left_to_right")
    start_date: datetime
    end_date: datetime | None = None
    catchup: bool = False
    tags: list[str] = []
    dag_args: dict[str, Any] = {}
    local_stores_path: str | None = None
    folder: str = Field(default_factory=lambda: _source_root())


def _source_root() -> str:
    from zenml.utils.source_utils import get_source_root

    return str(get_source_root())


def dag_of(configuration: DagConfiguration) -> Any:
    """The DAG of a pipeline; called by Airflow."""
    from airflow import DAG

    try:
        from airflow.providers.standard.operators.bash import BashOperator
    except ImportError:  # before Airflow 3
        from airflow.operators.bash import BashOperator

    operators: dict[str, Any] = {}
    with DAG(
        dag_id=configuration.id,
        schedule=configuration.schedule,
        start_date=configuration.start_date,
        end_date=configuration.end_date,
        catchup=configuration.catchup,
        tags=configuration.tags,
        is_paused_upon_creation=False,
        **configuration.dag_args,
    ) as dag:
        for task in configuration.tasks:
            run_id = {ENV_ZENML_AIRFLOW_RUN_ID: "{{ run_id }}"}
            operators[task.zenml_step_name] = BashOperator(
                task_id=task.id,
                bash_command=task.bash(),
                cwd=configuration.folder,
                env={**task.kept, **task.environment, **run_id},
                append_env=True,
                **task.operator_args,
            )
        for task in configuration.tasks:
            for upstream in task.upstream_steps:
                operators[upstream] >> operators[task.zenml_step_name]
    return dag


_archive = Path(__file__).parent
if zipfile.is_zipfile(_archive):  # Airflow loads this file
    with zipfile.ZipFile(_archive) as _files:
        dag = dag_of(DagConfiguration.model_validate_json(_files.read(CONFIG_FILENAME)))
