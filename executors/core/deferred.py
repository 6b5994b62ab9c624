"""Actions that would only return something that has not run: `async def`, generators.

A backend calls an action and takes what it returns for its value. A coroutine or generator is not
that value but the unstarted work, so a task with such an action would succeed without running.
"""

from __future__ import annotations

import inspect
from functools import partial
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, MethodType
from typing import Any

DEFERRED = frozenset((AsyncGeneratorType, CoroutineType, GeneratorType))
_FLAGS = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def is_deferred(action: Any) -> bool:
    """Whether calling the action runs nothing of it."""
    if type(action) is not FunctionType:
        action = _function_of(action)
    return isinstance(action, FunctionType) and bool(action.__code__.co_flags & _FLAGS)


def _function_of(action: Any) -> Any:
    """The function behind partials, methods and objects that can be called."""
    while not isinstance(action, (FunctionType, type)):
        if isinstance(action, partial):
            action = action.func
        elif isinstance(action, MethodType):
            action = action.__func__
        else:
            return type(action).__call__
    return action


def refusal(value: Any) -> TypeError:
    """The error of an action that returned one of the types in `DEFERRED`."""
    if isinstance(value, CoroutineType):
        value.close()  # or Python warns that it was never awaited
    return TypeError(
        f"the action returned {_a(value)}, which has not run; return {_INSTEAD[type(value)]}"
    )


_INSTEAD: dict[type, str] = {
    CoroutineType: "its result, for example: asyncio.run(coroutine)",
    GeneratorType: "its items, for example: list(generator)",
    AsyncGeneratorType: "its items, collected in a coroutine that asyncio.run runs",
}


def _a(value: object) -> str:
    words = type(value).__name__.replace("_", " ")
    return f"an {words}" if words.startswith("a") else f"a {words}"
