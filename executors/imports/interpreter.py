"""How to start a fresh interpreter like this one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from executors.imports.launch import OwnPackages

own = OwnPackages([], str(Path(__file__).parents[2]))  # those that were imported
LAUNCH = Path(__file__).with_name("launch.py")

# Runs that file. One expression, so that nothing is left in `__main__`.
_CALL = (
    "exec(__import__('importlib.machinery').machinery.SourceFileLoader('launch',"
    " __import__('sys').argv[1]).get_code('launch'), {'__name__': 'launch'})"
)
_LETTERS = {
    "ignore_environment": "E",
    "no_user_site": "s",
    "no_site": "S",
    "dont_write_bytecode": "B",
    "optimize": "O",
    "bytes_warning": "b",
}


def module_command(module: str, *arguments: object) -> list[str]:
    """The command that calls `main` of a module in a fresh interpreter like this one.

    It has the same options and finds the same modules; `-P` keeps the current folder from shadowing
    them before that.
    """
    start = [sys.executable, *interpreter_options()]
    return [*start, *_arguments(module, import_path()), *map(str, arguments)]


def other_command(
    executable: str, path: Sequence[str], module: str, *arguments: object
) -> list[str]:
    """The command that calls `main` of a module of ours in another Python.

    Args:
        path: where it finds the modules of others.
    """
    return [executable, *_arguments(module, path), *map(str, arguments)]


def _arguments(module: str, path: Sequence[str]) -> list[str]:
    names = " ".join(sorted(own.names))
    return ["-P", "-c", _CALL, str(LAUNCH), names, own.root, module, str(len(path)), *path]


def interpreter_options() -> list[str]:
    """The options with which this interpreter was started, except those for its terminal."""
    options = ["-I"] if sys.flags.isolated else []
    options += ["-" + letter * getattr(sys.flags, flag) for flag, letter in _LETTERS.items()]
    options += [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        options.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return [option for option in options if option != "-"]


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
