"""How to start a fresh interpreter like this one."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def module_command(module: str, *arguments: object) -> list[str]:
    """The command that runs a module; `-P` keeps the current folder from shadowing packages."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def module_environment() -> dict[str, str]:
    """The environment in which a fresh interpreter finds the same modules as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(import_path())}


def import_path() -> list[str]:
    """`sys.path`, with the current folder spelled out, if it still exists."""
    here = current_folder()
    return [str(entry or here) for entry in sys.path if entry or here]


def current_folder() -> Path | None:
    """The current folder; None if it was deleted or cannot be reached any more."""
    try:
        return Path.cwd()
    except OSError:
        return None
