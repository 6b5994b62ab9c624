"""Texts of errors and of users' objects, whose own methods may fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def describe(error: BaseException | None) -> str:
    """`ValueError: text`, like the last line of a traceback, even if `str(error)` raises."""
    text = shown(error, str)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shown(thing: object, how: Callable[[Any], str] = repr) -> str:
    """The text of a user's object, whose methods may fail."""
    try:
        return how(thing)
    except (Exception, SystemExit) as broken:
        return f"<a {type(thing).__name__} that cannot be shown: {type(broken).__name__}>"
