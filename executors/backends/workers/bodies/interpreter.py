"""A worker as an interpreter of this process (PEP 734), with an interpreter lock of its own."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from time import monotonic
from typing import Any

from executors.backends.workers.bodies.base import Body, Descriptors, ReturnCode
from executors.imports.interpreter import LAUNCH, import_path, own

# Runs in the new interpreter, which has nothing but Python's own modules yet.
_SOURCE = """
import sys
from importlib.machinery import SourceFileLoader
sys.path[:] = path
sys.argv[:] = [""]
launch = {"__name__": "worker"}
exec(SourceFileLoader("launch", file).get_code("launch"), launch)
sys.meta_path.insert(0, launch["OwnPackages"](names, root))
from executors.backends.workers.main import serve_in_interpreter
serve_in_interpreter(*descriptors)
"""
_REMAINING = "remaining subinterpreters"
END_S = 1.0  # that given-up interpreters have at the end of the program

_given_up: list[threading.Thread] = []


class InterpreterBody(Body):
    """An interpreter, and the thread of this process that owns it.

    It cannot be killed: one that is given up goes on until its action returns, and reports nothing.
    """

    kind = "interpreter"
    is_inside = True
    given_up = "an interpreter cannot be stopped, so it may still be running"

    def __init__(self, descriptors: Descriptors) -> None:
        self.pid = os.getpid()
        # Its own copies, because each side closes what it has.
        self._descriptors = Descriptors(*map(os.dup, descriptors))
        self.ended, self._ending = os.pipe()
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name="interpreter", daemon=True)
        try:
            self._thread.start()
        except BaseException as error:
            for descriptor in (*self._descriptors, self._ending):
                os.close(descriptor)
            self.release()
            raise OSError(f"no thread could be started: {error}") from error

    def _run(self) -> None:
        interpreters = import_module("concurrent.interpreters")  # since Python 3.14
        interpreter = None
        try:
            interpreter = interpreters.create()
            interpreter.prepare_main(
                path=tuple(import_path()),
                file=str(LAUNCH),
                names=tuple(sorted(own.names)),
                root=own.root,
                descriptors=tuple(self._descriptors),
            )
            interpreter.exec(_SOURCE)
        except BaseException as error:
            self._error = str(error)
        finally:
            try:
                if interpreter is not None:
                    interpreter.close()
            finally:
                os.close(self._ending)

    def kill(self) -> None:
        if self._thread.is_alive():
            _ExitCode.record()
            _given_up.append(self._thread)

    def wait(self) -> ReturnCode:
        return 0

    def wait_for_exit(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def release(self) -> None:
        os.close(self.ended)

    def how_it_ended(self, code: ReturnCode) -> str:
        return f"ended: {self._error}" if self._error else "was given up"

    def __repr__(self) -> str:
        return "an interpreter of this process"


class _ExitCode:
    """The exit code of this program, as far as it can be known before its end."""

    _exit: Callable[[Any], Any] | None = None
    _statuses: list[Any] = []  # with which `sys.exit` was called

    @classmethod
    def record(cls) -> None:
        """Notes from now on with what `sys.exit` is called."""
        if cls._exit is not None:
            return
        cls._exit = leave = sys.exit

        def exit(status: Any = None, /) -> Any:
            cls._statuses.append(status)
            return leave(status)

        sys.exit = exit

    @classmethod
    def number(cls) -> int:
        if not cls._statuses:
            return int(getattr(sys, "last_exc", None) is not None)
        status = cls._statuses[-1]
        return status if isinstance(status, int) else int(status is not None)


@atexit.register
def _end_given_up() -> None:
    """Waits a moment for given-up interpreters, and has the program end without the others.

    CPython 3.14 crashes when it ends an interpreter that a thread is running. Just before that,
    and after all other exit handlers, it warns of remaining interpreters.
    """
    give_up_s = monotonic() + END_S
    for thread in _given_up:
        thread.join(max(0.0, give_up_s - monotonic()))
    if any(thread.is_alive() for thread in _given_up):
        warnings.filterwarnings("always", _REMAINING, RuntimeWarning)
        warnings.showwarning = partial(_leave, warnings.showwarning)


def _leave(show: Callable[..., object], message: Warning | str, *rest: Any) -> None:
    if not str(message).startswith(_REMAINING):
        show(message, *rest)
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed, or gone
    os._exit(_ExitCode.number())
