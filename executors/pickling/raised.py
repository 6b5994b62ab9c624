"""Exceptions as they were raised, in another process.

Pickle recreates an exception by calling its class with `args`. An `__init__` that builds its own
message or has keyword arguments then changes the text, or fails; cause, context and the fields of
slots are lost. Here an exception is made without `__init__`, and everything that it holds is set.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Iterator
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from executors.core.records import describe
from executors.errors import RemoteError
from executors.imports import modules

# Set in other ways, or not at all.
_APART = {"args", "__class__", "__dict__", "__traceback__"}
_APART |= {"__cause__", "__context__", "__suppress_context__"}
_MISSING = object()
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

Reduce = Callable[[BaseException], tuple[Any, ...]]


def dumps_raised(error: BaseException) -> bytes:
    """Pickles an exception with its notes, cause and context.

    Attributes that cannot be pickled are left out. An exception that still cannot be pickled, or
    comes back changed, is replaced by a `RemoteError` with its text: the exception itself, or only
    one in its chain. The exception may be changed.

    Raises:
        Exception: even the text cannot be pickled.
    """
    try:
        return _checked(error)[0]
    except Exception:
        return _dumps(_portable(error, {}), _reduced_loosely)


def qualified(kind: type) -> str:
    """The name of a class with its module, as in a traceback."""
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _portable(error: BaseException, done: dict[int, BaseException]) -> BaseException:
    """The exception, or a `RemoteError` in its place, with a chain that can be pickled."""
    if id(error) in done:
        return done[id(error)]
    cause, context, suppress = error.__cause__, error.__context__, error.__suppress_context__
    _set_chain(error, None, None, suppress)
    substitute = error
    try:
        _checked(error)
    except Exception as reason:
        text = f"{describe(error)} (the exception itself cannot be sent: {describe(reason)})"
        substitute = RemoteError(qualified(type(error)), text)
        for note in getattr(error, "__notes__", ()):
            substitute.add_note(str(note))
    done[id(error)] = substitute
    cause = None if cause is None else _portable(cause, done)
    context = None if context is None else _portable(context, done)
    _set_chain(substitute, cause, context, suppress)
    return substitute


def _checked(error: BaseException) -> tuple[bytes, Reduce]:
    """The pickle, if it gives the same exception, and how it was made.

    Raises:
        Exception: it cannot be pickled or unpickled, or it comes back changed.
    """
    try:
        return _same(error, reduced), reduced
    except Exception:
        return _same(error, _reduced_loosely), _reduced_loosely


def _same(error: BaseException, reduce: Reduce) -> bytes:
    pickled = _dumps(error, reduce)
    for before, after in zip(_chain(error), _chain(pickle.loads(pickled)), strict=True):
        if type(after) is not type(before):
            raise TypeError(f"it unpickles as {type(after).__name__}")
        if _seen(after) != _seen(before):
            raise ValueError(f"it unpickles as {describe(after)}")
    return pickled


def _seen(error: BaseException) -> tuple[Any, ...]:
    text = _ADDRESS.sub("", describe(error))
    return text, len(error.args), getattr(error, "__notes__", None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, those of its group, its cause and its context, and theirs; each once."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions


def as_value(error: BaseException) -> tuple[Any, ...]:
    """What pickle needs in order to make an exception again that is part of a value.

    In its chain, not itself, it may be replaced.

    Raises:
        Exception: it cannot be pickled.
    """
    try:
        _, reduce = _checked(error)
    except Exception:
        if _portable(error, {}) is not error:
            raise
        reduce = _reduced_loosely
    return reduce(error)


def _dumps(thing: Any, reduce: Reduce) -> bytes:
    """By name if every process can import what is named, else by value."""
    file = io.BytesIO()
    pickler = _Pickler(file, 5)
    pickler.reduce_error = reduce
    try:
        pickler.dump(thing)
        pickled = file.getvalue()
        if not any(name in pickled for name in modules.private):
            return pickled
    except Exception:
        pass
    from executors.pickling.by_value import dumps_by_value  # 20 ms; seldom needed

    return dumps_by_value(thing, reduce)


class _Pickler(pickle.Pickler):
    reduce_error: Reduce

    def reducer_override(self, thing: Any) -> Any:
        return self.reduce_error(thing) if isinstance(thing, BaseException) else NotImplemented


def reduced(error: BaseException) -> tuple[Any, ...]:
    """What pickle needs in order to make an exception again with all that it holds."""
    return _reduced(error, vars(error).copy(), dict(_fields(error)))


def _reduced_loosely(error: BaseException) -> tuple[Any, ...]:
    """The same without attributes that cannot be pickled."""
    values = {name: value for name, value in vars(error).items() if _can_be_pickled(value)}
    fields = {name: value for name, value in _fields(error) if _can_be_pickled(value)}
    return _reduced(error, values, fields)


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.loads(_dumps(value, _reduced_loosely))
    except Exception:
        return False
    return True


def _reduced(
    error: BaseException, values: dict[str, Any], fields: dict[str, Any]
) -> tuple[Any, ...]:
    chain = error.__cause__, error.__context__, error.__suppress_context__
    state = error.args, values, fields, chain
    make: Callable[..., BaseException] = _made
    arguments: tuple[Any, ...] = type(error), error.args
    if _has_own_reduce(type(error)):
        make, arguments = _made_by, tuple(error.__reduce_ex__(5)[:2])
    return make, arguments, state, None, None, _restore


def _has_own_reduce(kind: type) -> bool:
    """Whether a class outside of Python's own says how its exceptions are pickled."""
    for base in kind.__mro__:
        if base.__module__ == "builtins":
            return False
        if "__reduce__" in vars(base) or "__reduce_ex__" in vars(base):
            return True
    return False


def _fields(error: BaseException) -> Iterator[tuple[str, Any]]:
    """What is in slots, and in the fields of Python's own exceptions, such as `errno`."""
    for base in type(error).__mro__:
        for name, descriptor in vars(base).items():
            is_field = isinstance(descriptor, (MemberDescriptorType, GetSetDescriptorType))
            if is_field and name not in _APART:
                value = getattr(error, name, _MISSING)
                if value is not _MISSING:
                    yield name, value


def _made(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    """An exception without its `__init__`."""
    try:
        error = kind.__new__(kind, *arguments)
    except TypeError:  # a `__new__` with other arguments
        error = BaseException.__new__(kind)
    object.__setattr__(error, "args", arguments)
    return error


def _made_by(make: Callable[..., BaseException], arguments: tuple[Any, ...]) -> BaseException:
    """An exception as its class wants it to be made."""
    return make(*arguments)


def _restore(error: BaseException, state: tuple[Any, dict[str, Any], dict[str, Any], Any]) -> None:
    arguments, values, fields, chain = state
    object.__setattr__(error, "args", arguments)  # also of an exception that is frozen
    vars(error).update(values)
    for name, value in fields.items():
        if getattr(error, name, _MISSING) is not value:
            try:
                object.__setattr__(error, name, value)
            except (AttributeError, TypeError):
                pass  # read only, and set by `__new__`
    _set_chain(error, *chain)


def _set_chain(
    error: BaseException,
    cause: BaseException | None,
    context: BaseException | None,
    suppress: bool,
) -> None:
    """Sets cause and context as Python does, also of an exception that is frozen."""
    object.__setattr__(error, "__cause__", cause)
    object.__setattr__(error, "__context__", context)
    object.__setattr__(error, "__suppress_context__", suppress)
