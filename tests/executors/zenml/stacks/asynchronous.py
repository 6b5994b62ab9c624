"""An orchestrator for tests whose runs end in another process, as those of other machines do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor

RUN_ID = "TESTED_ORCHESTRATOR_RUN_ID"
WAITS = "TESTED_ORCHESTRATOR_WAITS"  # set: something else starts the runs, by their names


class AsynchronousConfig(BaseOrchestratorConfig):
    """It says that it does not wait."""

    @property
    def is_local(self) -> bool:
        return True

    @property
    def is_synchronous(self) -> bool:
        return False


class Asynchronous(BaseOrchestrator):
    """Starts a process for each run, which makes its steps one after the other."""

    def get_orchestrator_run_id(self) -> str:
        return os.environ[RUN_ID]

    def submit_pipeline(self, snapshot: Any, *_: Any, **__: Any) -> None:
        if WAITS in os.environ:
            return
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(snapshot.id)],
            env={**os.environ, RUN_ID: str(uuid4())},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


class AsynchronousFlavor(BaseOrchestratorFlavor):
    """`tested_asynchronous`."""

    @property
    def name(self) -> str:
        return "tested_asynchronous"

    @property
    def config_class(self) -> type[BaseOrchestratorConfig]:
        return AsynchronousConfig

    @property
    def implementation_class(self) -> type[BaseOrchestrator]:
        return Asynchronous


def main(which: str) -> None:
    """Makes the steps of a run.

    Args:
        which: the id of its snapshot, or the name of a run that waits.
    """
    from zenml.client import Client
    from zenml.execution.step.utils import launch_step
    from zenml.utils import source_utils

    source_utils.set_custom_source_root(str(Path.cwd()))
    if WAITS in os.environ:
        os.environ[RUN_ID] = str(uuid4())
        run = Client().get_pipeline_run(which, allow_name_prefix_match=False)
        assert run.snapshot is not None
        which = str(run.snapshot.id)
    snapshot = Client().zen_store.get_snapshot(UUID(which))
    for step in snapshot.step_configurations.values():
        launch_step(snapshot=snapshot, step=step, orchestrator_run_id=os.environ[RUN_ID])


if __name__ == "__main__":
    main(sys.argv[1])
