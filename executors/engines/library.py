"""Whether the package that an engine stands for is here, without importing it."""

from __future__ import annotations

from importlib.util import find_spec

PROJECT = "executor-bench"


def missing(module: str, extra: str) -> str | None:
    """What to do if a package is not installed, or None if it is."""
    try:
        is_here = find_spec(module) is not None
    except (ImportError, ValueError):  # half installed, or taken out of sys.modules
        is_here = False
    return None if is_here else f"pip install '{PROJECT}[{extra}]'"
