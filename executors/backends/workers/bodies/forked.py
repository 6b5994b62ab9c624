"""A worker as a fork of a template: a process that has made itself ready once, for all of them."""

from __future__ import annotations

import atexit
import os
import pickle
import select
import socket
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

from executors.backends.workers.bodies.base import Body, Descriptors, ReturnCode
from executors.backends.workers.bodies.process import ProcessBody
from executors.backends.workers.wire import MESSAGES, receive, send
from executors.imports.interpreter import module_command
from executors.imports.lifeline import wait_for
from executors.imports.surroundings import Surroundings

CAN_SEE_THE_END = hasattr(os, "pidfd_open")  # of a process that another one has started


class TemplateGone(Exception):
    """The template cannot fork, or has died."""


class Template:
    """Makes bodies that are forks of one process, which has imported what takes long.

    It is started when the first body is needed, and again after it has died. Where it cannot fork,
    because the system is not Linux or because what it has imported runs threads, which a fork would
    lose, bodies are fresh processes.

    Args:
        module, function: called without arguments in the template, once. It must leave nothing open
            that two processes cannot share, such as a connection to a database.
    """

    kind = "process"
    is_inside = False

    def __init__(self, module: str, function: str) -> None:
        self._what = module, function
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket
        self._lifeline = -1
        self._pid = os.getpid()
        self._cannot_fork = not CAN_SEE_THE_END

    def __call__(self, descriptors: Descriptors) -> Body:
        if not self._cannot_fork:
            try:
                return ForkedBody(self, descriptors)
            except TemplateGone:
                pass
        return ProcessBody(descriptors)

    def extra_environment(self) -> Mapping[str, str]:
        return ProcessBody.extra_environment()

    def fork(self, descriptors: tuple[int, ...]) -> tuple[int, int]:
        """Forks a worker.

        Args:
            descriptors: `Descriptors`, then the lifeline of the worker.

        Returns:
            Its process id, and a descriptor that becomes readable when it has ended.

        Raises:
            TemplateGone: it cannot.
        """
        with self._lock:
            if self._process is None or self._pid != os.getpid():
                self._start()
            changes = Surroundings.of_this_process().since(self._surroundings)
            streams = [number for number in (1, 2) if _is_open(number)]
            question = "fork", pickle.dumps(changes), streams
            pid, (ended,) = self._ask(question, [*streams, *descriptors])
            return pid, ended

    def wait(self, pid: int) -> ReturnCode:
        """Waits for the end of a worker; None if it cannot be known how it has ended."""
        with self._lock:
            try:
                code: int = self._ask(("wait", pid), [])[0]
            except TemplateGone:
                return None
            return code

    def close(self) -> None:
        """Ends the template; workers that it has forked go on."""
        with self._lock:
            if self._process is not None and self._pid == os.getpid():
                self._drop()

    def _start(self) -> None:
        if self._process is not None:  # that of the program which this process was forked from
            self._line.close()
            os.close(self._lifeline)
        self._process = None
        self._pid = os.getpid()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, MESSAGES)
        lifeline, self._lifeline = os.pipe()
        inherited = theirs.fileno(), lifeline
        self._surroundings = Surroundings.of_this_process()
        try:
            self._process = subprocess.Popen(
                module_command(
                    "executors.backends.workers.bodies.template", *inherited, *self._what
                ),
                pass_fds=inherited,
                env={**os.environ, **self.extra_environment()},
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            self._line.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        atexit.register(self.close)
        try:
            self._answer()  # when it is ready
        except TemplateGone:
            self._cannot_fork = True
            raise

    def _ask(self, question: tuple[Any, ...], descriptors: list[int]) -> tuple[int, list[int]]:
        """The number, and the descriptors, that the template answers with."""
        if self._process is None or self._pid != os.getpid():
            raise TemplateGone
        try:
            send(self._line, question, descriptors)
        except ConnectionError:
            pass  # which `receive` will show
        return self._answer()

    def _answer(self) -> tuple[int, list[int]]:
        try:
            answer, received = receive(self._line)
        except ConnectionError:
            answer = None
        except BaseException:  # the next answer would be this one
            self._drop()
            raise
        if answer is None:
            self._drop()
            raise TemplateGone
        return answer[0], list(received)

    def _drop(self) -> None:
        assert self._process is not None
        atexit.unregister(self.close)
        self._line.close()
        os.close(self._lifeline)  # which kills it
        self._process.wait()
        self._process = None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class ForkedBody(ProcessBody):
    """A process that a template has forked, in a process group of its own."""

    def __init__(self, template: Template, descriptors: Descriptors) -> None:
        self._template = template
        self._code: ReturnCode = None
        self._was_awaited = False
        lifeline, self._lifeline = os.pipe()
        try:
            self.pid, self.ended = template.fork((*descriptors, lifeline))
        except BaseException:
            self.release()
            raise
        finally:
            os.close(lifeline)

    def wait(self) -> ReturnCode:
        if not self._was_awaited:
            self._code = self._template.wait(self.pid)
            self._was_awaited = True
        return self._code

    def wait_for_exit(self, timeout_s: float) -> None:
        wait_for(self.ended, select.POLLIN, int(1000 * timeout_s))

    def how_it_ended(self, code: ReturnCode) -> str:
        if code is None:
            return "has ended; how cannot be known, because the process that forked it is gone"
        return super().how_it_ended(code)
