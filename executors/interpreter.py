"""How a fresh interpreter of this program's kind is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def module_command(module: str, *arguments: object) -> list[str]:
    """Runs a module of this project; `-P` keeps packages in the current folder from hiding it."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def module_environment() -> dict[str, str]:
    """The environment in which a fresh interpreter imports from where this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(import_path())}


def import_path() -> list[str]:
    """`sys.path` with the current folder by its name."""
    return [str(entry) if entry else str(Path.cwd()) for entry in sys.path]
