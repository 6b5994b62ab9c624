"""The flavors `local_threaded` and `local_process`, as ZenML registers them."""

from __future__ import annotations

from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor

from executors.zenml.config import (
    LocalProcessOrchestratorConfig,
    LocalThreadedOrchestratorConfig,
)


class LocalThreadedOrchestratorFlavor(BaseOrchestratorFlavor):
    """Runs the independent steps of a pipeline in parallel, in threads of this process."""

    @property
    def name(self) -> str:
        """`local_threaded`."""
        return "local_threaded"

    @property
    def config_class(self) -> type[BaseOrchestratorConfig]:
        """The class of its configuration."""
        return LocalThreadedOrchestratorConfig

    @property
    def implementation_class(self) -> type[BaseOrchestrator]:
        """The class of its orchestrators."""
        from executors.zenml.orchestrator import LocalThreadedOrchestrator

        return LocalThreadedOrchestrator


class LocalProcessOrchestratorFlavor(BaseOrchestratorFlavor):
    """Runs the independent steps of a pipeline in parallel, in processes of this machine."""

    @property
    def name(self) -> str:
        """`local_process`."""
        return "local_process"

    @property
    def config_class(self) -> type[BaseOrchestratorConfig]:
        """The class of its configuration."""
        return LocalProcessOrchestratorConfig

    @property
    def implementation_class(self) -> type[BaseOrchestrator]:
        """The class of its orchestrators."""
        from executors.zenml.orchestrator import LocalProcessOrchestrator

        return LocalProcessOrchestrator
