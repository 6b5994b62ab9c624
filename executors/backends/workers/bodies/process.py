"""A worker as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
from collections.abc import Mapping

from executors.backends.workers.bodies.base import Body, Descriptors, ReturnCode
from executors.imports.interpreter import module_command

IS_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
ON_DEMAND = {"MIMALLOC_ARENA_EAGER_COMMIT": "0"}
HASH_SEED = str(int.from_bytes(os.urandom(4)))


class ProcessBody(Body):
    """A fresh interpreter in a process group of its own, which ends with this process."""

    kind = "process"

    def __init__(self, descriptors: Descriptors) -> None:
        lifeline, self._lifeline = os.pipe()
        inherited = (*descriptors, lifeline)
        try:
            self.process = subprocess.Popen(
                module_command("executors.backends.workers.main", *inherited),
                pass_fds=inherited,
                env={**os.environ, **self.extra_environment()},
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            self.release()
            raise
        finally:
            os.close(lifeline)
        self.pid = self.process.pid
        if hasattr(os, "pidfd_open"):
            self.ended = os.pidfd_open(self.pid)

    def kill(self) -> None:
        """Kills the process and all that it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS raises the latter for a zombie
            pass
        try:  # it may have left its group
            if self.ended >= 0:
                signal.pidfd_send_signal(self.ended, signal.SIGKILL)
            elif self.process.returncode is None:
                os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait(self) -> ReturnCode:
        if self.process.returncode is None:
            try:
                _, status = os.waitpid(self.pid, 0)
            except ChildProcessError:  # where Popen would say that the code was 0
                return None
            self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode

    def wait_for_exit(self, timeout_s: float) -> None:
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass

    def release(self) -> None:
        for descriptor in (self._lifeline, self.ended):
            if descriptor >= 0:
                os.close(descriptor)

    def how_it_ended(self, code: ReturnCode) -> str:
        return in_words(code)

    @staticmethod
    def extra_environment() -> Mapping[str, str]:
        """One hash seed for all, so that tasks agree, for example to partition work.

        And on free-threaded builds, whose allocator (mimalloc) makes a gigabyte writable at once,
        memory that becomes so when it is needed: `memory_limit_bytes` counts writable memory.
        """
        more = dict(ON_DEMAND) if IS_FREE_THREADED else {}
        if "PYTHONHASHSEED" not in os.environ:
            more["PYTHONHASHSEED"] = HASH_SEED
        return {name: value for name, value in more.items() if name not in os.environ}

    def __repr__(self) -> str:
        return f"pid {self.pid}"


def in_words(status: ReturnCode) -> str:
    """How a process ended."""
    if status is None:
        return (
            "has ended; how cannot be known, because the program ignores SIGCHLD, or waits for"
            " processes that it did not start"
        )
    if status >= 0:
        return f"exited with code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
