"""What an action may look at besides its arguments: workers that live longer keep up with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from executors.imports.interpreter import current_folder, import_path


class Surroundings(NamedTuple):
    """Those of a process.

    Attributes:
        path: where it finds modules.
        folder: the current one, or None.
        environment: its environment variables.
    """

    path: list[str]
    folder: str | None
    environment: Mapping[bytes, bytes]

    @classmethod
    def of_this_process(cls) -> Surroundings:
        folder = current_folder()
        # Decoding a copy of all variables would take as long as a short run.
        environment: Mapping[bytes, bytes] = getattr(os.environ, "_data", {})
        return cls(import_path(), None if folder is None else str(folder), dict(environment))

    def since(self, before: Surroundings) -> Changes:
        """What is different now."""
        now, then = self.environment, before.environment
        variables: dict[bytes, bytes | None] = dict.fromkeys(then.keys() - now.keys())
        variables |= {name: now[name] for name in now if now[name] != then.get(name)}
        return Changes(
            self.path if self.path != before.path else None,
            self.folder if self.folder != before.folder else None,
            variables,
        )


class Changes(NamedTuple):
    """What became different; None for what did not."""

    path: list[str] | None
    folder: str | None
    variables: Mapping[bytes, bytes | None]


def adopt(changes: Changes) -> None:
    """Makes these changes in this process.

    Raises:
        OSError: the folder cannot be entered.
    """
    if changes.path is not None:
        sys.path[:] = changes.path
    for name, value in changes.variables.items():
        if value is None:
            os.environb.pop(name, None)
        else:
            os.environb[name] = value
    if changes.folder is not None:
        os.chdir(changes.folder)
