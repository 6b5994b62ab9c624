"""`local_threaded`: the thread-pool backend as an orchestrator flavor of ZenML.

The only package here that imports zenml. It uses parts of ZenML that may change with any release,
so it refuses versions that it was not tested with.
"""

from __future__ import annotations

import importlib.metadata
import sysconfig

from executors.zenml.errors import UnsupportedZenML

SUPPORTED = "0.98."  # prefix of the versions that this package was tested with


def _check() -> None:
    wanted = f"Install it with: pip install 'zenml[local]=={SUPPORTED}*'"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        wanted = (
            "It cannot be installed on a free-threaded Python, because packages that it needs have"
            " no wheels for it; use another Python"
        )
    try:
        version = importlib.metadata.version("zenml")
    except importlib.metadata.PackageNotFoundError:
        raise UnsupportedZenML(f"executors.zenml needs ZenML. {wanted}") from None
    if not version.startswith(SUPPORTED):
        raise UnsupportedZenML(
            f"executors.zenml works with ZenML {SUPPORTED}*, but {version} is installed. {wanted}"
        )


_check()

from executors.zenml.config import (  # noqa: E402
    LocalProcessOrchestratorConfig,
    LocalThreadedOrchestratorConfig,
)
from executors.zenml.flavor import (  # noqa: E402
    LocalProcessOrchestratorFlavor,
    LocalThreadedOrchestratorFlavor,
)
from executors.zenml.orchestrator import (  # noqa: E402
    LocalProcessOrchestrator,
    LocalThreadedOrchestrator,
)

__all__ = [
    "LocalProcessOrchestrator",
    "LocalProcessOrchestratorConfig",
    "LocalProcessOrchestratorFlavor",
    "LocalThreadedOrchestrator",
    "LocalThreadedOrchestratorConfig",
    "LocalThreadedOrchestratorFlavor",
    "UnsupportedZenML",
]
