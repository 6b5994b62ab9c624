"""Which extension modules switch the interpreter lock of a free-threaded build on.

CPython does so when it loads a module that has not declared that it works without the lock, and
warns of it (PEP 703; `Py_mod_gil`). The warning is the only place that names the module.
"""

from __future__ import annotations

import re
import sysconfig
import warnings
from typing import Any

from bench.machine.build import is_gil_enabled

_WARNING = re.compile(r"global interpreter lock \(GIL\) has been enabled to load module '([^']+)'")
_switched_on_by: list[str] = []
_is_watched = False


def watch() -> None:
    """Notes the modules that switch the lock on from now on; they are warned of as before."""
    global _is_watched
    if _is_watched or not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return
    _is_watched = True
    shown = warnings.showwarning

    def show(message: Any, *rest: Any, **more: Any) -> None:
        if (found := _WARNING.search(str(message))) is not None:
            _switched_on_by.append(found.group(1))
        shown(message, *rest, **more)

    warnings.showwarning = show


def state() -> tuple[str, list[str]] | None:
    """Whether the lock is "on" or "off", and what switched it on; None where it is always on."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    return "on" if is_gil_enabled() else "off", list(_switched_on_by)
