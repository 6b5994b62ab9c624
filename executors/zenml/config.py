"""The configuration of the `local_threaded` orchestrator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar, Self

from pydantic import Field
from zenml.orchestrators import BaseOrchestratorConfig

from executors.cpus import usable_cpus

_max_workers: ContextVar[int | None] = ContextVar("max_workers", default=None)


@contextmanager
def max_workers(number: int | None) -> Iterator[None]:
    """Runs that this context starts have this number of workers, whatever is configured.

    Args:
        number: None changes nothing.
    """
    token = _max_workers.set(number)
    try:
        yield
    finally:
        _max_workers.reset(token)


class LocalThreadedOrchestratorConfig(BaseOrchestratorConfig):
    """Configuration of the `local_threaded` orchestrator.

    Raises:
        ValidationError: `max_workers` is not a whole number of at least 1.
    """

    flavor: ClassVar[str] = "local_threaded"

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
    def of_this_run(self) -> Self:
        """It, with the number of workers that the calling context asks for."""
        number = _max_workers.get()
        return self if number is None else self.model_copy(update={"max_workers": number})

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
            "This orchestrator runs a pipeline now, on this machine, and has no schedules."
            " Call the pipeline from cron or a systemd timer, or switch to a stack whose"
            " orchestrator has schedules (zenml stack list, zenml stack set NAME)."
        )


class LocalProcessOrchestratorConfig(LocalThreadedOrchestratorConfig):
    """Configuration of the `local_process` orchestrator.

    Raises:
        ValidationError: a value is out of its range.
    """

    flavor: ClassVar[str] = "local_process"

    step_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds after which an attempt of a step is killed and has failed.",
    )
    memory_limit_bytes: int | None = Field(
        default=None,
        gt=0,
        description="Memory that a worker may allocate, ZenML included, which needs about"
        " 500,000,000. A step that needs more fails. Linux only.",
    )
    fresh_workers: bool = Field(
        default=False,
        description="Whether each attempt of a step gets a new process, which takes several"
        " seconds longer, because it imports ZenML.",
    )
