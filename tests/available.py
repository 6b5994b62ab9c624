"""The backends that can run here: some need packages that are not installed for all tests."""

from __future__ import annotations

from executors import backend_names
from executors.backends import why_unavailable

AVAILABLE = [name for name in backend_names() if why_unavailable(name) is None]
