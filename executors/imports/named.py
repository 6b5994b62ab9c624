"""Things of the user's own that the command line names as module:name."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from executors.core.records import describe
from executors.errors import ArgumentError


def named_module(option: str, spec: str, kind: str, example: str) -> tuple[ModuleType, str]:
    """Imports the module of a specification.

    Args:
        option: that has it, such as `--graph`.
        spec: module:name.
        kind: of the thing, for messages.
        example: of a specification.

    Returns:
        The module, and the name that should be in it.

    Raises:
        ArgumentError: it has another form, or the module cannot be imported.
    """
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ArgumentError(f"{option} must be module:{kind}, like {example}, not {spec!r}")
    try:
        return import_module(module), name
    except (Exception, SystemExit) as error:
        hint = "; leave out .py" if module.endswith(".py") else ""
        raise ArgumentError(
            f"{option} {spec}: cannot import {module} ({describe(error)}){hint}"
        ) from error
