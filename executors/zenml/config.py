"""The configuration of the `local_threaded` orchestrator."""

from __future__ import annotations

from pydantic import Field
from zenml.orchestrators import BaseOrchestratorConfig

from executors.cpus import usable_cpus


class LocalThreadedOrchestratorConfig(BaseOrchestratorConfig):
    """Configuration of the `local_threaded` orchestrator.

    Raises:
        ValidationError: `max_workers` is not a whole number of at least 1.
    """

    max_workers: int = Field(
        default_factory=usable_cpus,
        gt=0,
        description="How many steps may run at once; default: the CPUs that the process may use.",
    )
    step_resources: bool = Field(
        default=True,
        description="Whether a step with ResourceSettings(cpu_count=2) occupies 2 of the workers."
        " False: every step occupies 1, for pipelines whose resources are meant for another"
        " orchestrator.",
    )

    @property
    def is_local(self) -> bool:
        """Steps run on this machine."""
        return True

    @property
    def is_synchronous(self) -> bool:
        """Calling a pipeline returns when it has ended."""
        return True

    @property
    def is_schedulable(self) -> bool:
        """Always raises: ZenML reads it only if a schedule was given, before it stores anything.

        Raises:
            ValueError: always; the message says what to use instead.
        """
        raise ValueError(
            "local_threaded runs a pipeline now, in this process, and has no schedules."
            " Call the pipeline from cron or a systemd timer, or switch to a stack whose"
            " orchestrator has schedules (zenml stack list, zenml stack set NAME)."
        )
