"""The backends that can run here: some need packages that are not installed for all tests."""

from __future__ import annotations

from executors import backend_names
from executors.backends import default_backends, why_unavailable

AVAILABLE = [name for name in backend_names() if why_unavailable(name) is None]
POOLS = [name for name in default_backends() if name != "sequential"]  # more of them since 3.14
