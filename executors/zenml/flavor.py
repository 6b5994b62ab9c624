"""The flavor `local_threaded`, as ZenML registers it."""

from __future__ import annotations

from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor

from executors.zenml.config import LocalThreadedOrchestratorConfig


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
