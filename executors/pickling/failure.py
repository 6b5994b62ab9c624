"""What went wrong with a call in another process, on its way to the parent."""

from __future__ import annotations

import pickle
import re
import traceback
from typing import NamedTuple

from executors.core.records import Call, describe
from executors.errors import MemoryLimitExceeded, NotLoadable, NotPicklable, RemoteError
from executors.pickling.packing import Packed, load
from executors.pickling.raised import dumps_raised

# What went wrong with a call: the action (at worst the worker itself) raised, something cannot be
# pickled or unpickled (an argument: by its position), or there was no memory left.
RAISED, ACTION, VALUE_OF, MEMORY = "raised", "action", "value", "memory"
MODULE = "module"  # that an interpreter cannot load

_UNLOADABLE = re.compile(r"module (\S+) does not support loading in subinterpreters")  # CPython's


class Failure(NamedTuple):
    """An exception on its way to the parent.

    Attributes:
        what: RAISED, ACTION, VALUE_OF, MEMORY, MODULE, or the position of an argument.
        pickled: the exception, if it was raised and can be unpickled whole.
        type_name: the type of the exception, or of the value that cannot be pickled.
        text: what the exception says, or the module.
    """

    what: str | int
    pickled: bytes | None
    type_name: str
    text: str
    traceback: str


def failure_of(what: str | int, type_name: str, error: BaseException) -> Failure:
    """What went wrong with a call, in the worker."""
    try:
        printed = "".join(traceback.format_exception(error))
    except BaseException as broken:
        printed = f"its traceback cannot be shown: {type(broken).__name__}"
    if (module := unloadable(error)) is not None:
        return Failure(MODULE, None, type_name, module, printed)
    text = describe(error)
    pickled: bytes | None = None
    if what == RAISED:
        try:
            pickled = dumps_raised(error)
        except BaseException as reason:
            text += f" (the exception itself cannot be sent: {describe(reason)})"
    return Failure(what, pickled, type_name, text, printed)


def unloadable(error: BaseException | None) -> str | None:
    """The module that could not be loaded in an interpreter, if that is the reason of an error."""
    seen = 0
    while error is not None and seen < 20:  # a package may wrap it, as numpy does
        if isinstance(error, ImportError) and (found := _UNLOADABLE.search(str(error))):
            return found[1]
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def error_in(packed: Packed, call: Call, worker: str, limit_bytes: int | None) -> BaseException:
    """The error behind a packed `Failure`; see `error_of`."""
    try:
        failure: Failure = load(packed)
    except OSError as error:  # too many open files
        name = call.task.name
        return NotPicklable(
            f"task {name!r}: its exception could not be received: {describe(error)}"
        )
    return error_of(failure, call, worker, limit_bytes)


def error_of(
    failure: Failure, call: Call, worker: str, limit_bytes: int | None = None
) -> BaseException:
    """The error of a task whose call failed in a worker, with the worker's traceback as a note."""
    name = call.task.name
    what = failure.what
    if what == RAISED:
        return _raised(failure, worker)
    if what == ACTION:
        text = f"its action cannot be unpickled in its worker: {failure.text}"
    elif what == VALUE_OF:
        text = (
            f"its value, of type {failure.type_name}, cannot be pickled: {failure.text};"
            " return plain data, or use the threads backend"
        )
    elif what == MODULE:
        package = failure.text.partition(".")[0]
        text = (
            f"task {name!r}: {package} cannot be loaded in an interpreter of this process, because"
            f" its module {failure.text} does not support that; use the backend processes, or"
            " threads"
        )
        return _noted(NotLoadable(text), failure, worker)
    elif what == MEMORY:
        text = (
            f"task {name!r} needed more memory than the {limit_bytes} bytes that its worker may"
            f" use (memory_limit_bytes): {failure.text}"
        )
        return _noted(MemoryLimitExceeded(text), failure, worker)
    else:
        need = call.task.needs[int(what)]
        text = (
            f"its argument, the value of {need!r}, cannot be unpickled in its worker:"
            f" {failure.text}"
        )
    return NotPicklable(f"task {name!r}: {text}")


def _raised(failure: Failure, worker: str) -> BaseException:
    error: BaseException = RemoteError(failure.type_name, failure.text)
    if failure.pickled is not None:
        try:
            error = pickle.loads(failure.pickled)
        except BaseException as reason:
            why = f"(the exception cannot be unpickled: {describe(reason)})"
            error = RemoteError(failure.type_name, f"{failure.text} {why}")
    return _noted(error, failure, worker)


def _noted(error: BaseException, failure: Failure, worker: str) -> BaseException:
    try:
        error.add_note(f"In {worker}:\n{failure.traceback}")
    except Exception:
        pass  # a frozen exception, for example, stays without the note
    return error
