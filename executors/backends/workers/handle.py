"""`WorkerHandle`: one worker process, seen from its parent: its pipes, its messages, its death."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from time import monotonic

from executors.backends.workers.assigned import Assigned
from executors.backends.workers.orders import Batch
from executors.backends.workers.wire import (
    CHANGES,
    FORGET,
    IMPORTED,
    IN_SEGMENT,
    LONGEST,
    MESSAGES,
    ORDERS,
    OUTCOMES,
    PLAIN_ORDERS,
    REPORT,
    TICKET,
    Setup,
    Used,
    receive,
    send,
)
from executors.imports.interpreter import module_command
from executors.imports.surroundings import Surroundings
from executors.pickling.packing import Packed, Segment

EXIT_GRACE_S = 1.0
HASH_SEED = str(int.from_bytes(os.urandom(4)))
MANY_DESCRIPTORS = 0.75  # of those that this process may have: beyond, segments are copied

ReturnCode = int | None  # as in subprocess; None if it cannot be known

# The outcome of a call: its kind, the call's number, value or failure, start and end of the action.
Outcome = tuple[int, int, Packed, float, float, Used | None]


class WorkerHandle:
    """One worker process, seen from its parent.

    Args:
        number: for its name.
        shared: the descriptors `wakeup` and `children` of `wire.py`.
        on_report: called with the handle, and kind, number of the call and content of each report
            that is not the outcome of a call.

    Attributes:
        assigned: its calls.
        surroundings: those that it has, unless its actions change them.
        batch: calls that `post` will send.
        started_s: when the process was started.
        imports: modules that it has imported for a call, and the time until the action began, by
            the call's number.
        is_ready: it has set itself up and takes calls.
        has_closed: it has closed its pipe of reports.
    """

    def __init__(
        self,
        number: int,
        shared: tuple[int, int],
        on_report: Callable[[WorkerHandle, int, int, Packed], object],
    ) -> None:
        self.number = number
        self.name = f"process-{number}"
        self.assigned = Assigned()
        self.batch = Batch()
        self.imports: dict[int, tuple[tuple[str, ...], float]] = {}
        self.started_s = monotonic()
        self.surroundings = Surroundings.of_this_process()
        self.is_ready = self.has_closed = False
        self._on_report = on_report
        self._unread = b""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, MESSAGES)
        self._queue, self._tickets = os.pipe()
        self._reports, reports = os.pipe()
        lifeline, self._lifeline = os.pipe()
        self._exit = -1  # becomes readable when the process has ended
        inherited = (self._queue, theirs.fileno(), reports, *shared, lifeline)
        try:
            self.process = subprocess.Popen(
                module_command("executors.backends.workers.main", *inherited),
                pass_fds=inherited,
                env={**os.environ, **extra_environment()},
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            self.release()
            raise
        finally:
            theirs.close()
            os.close(reports)
            os.close(lifeline)
        self._line.setblocking(False)
        for descriptor in (self._queue, self._tickets, self._reports):
            os.set_blocking(descriptor, False)
        if hasattr(os, "pidfd_open"):
            self._exit = os.pidfd_open(self.process.pid)

    # -- what it is sent --------------------------------------------------------------------

    def prepare(self, setup: Setup) -> None:
        """Sends what the worker has to do before it is ready."""
        try:
            send(self._line, pickle.dumps(setup), [])
        except ConnectionError:
            pass  # it is gone, which its end will show

    def keep_up(self, now: Surroundings) -> None:
        """Has it adopt surroundings that changed after it was started, before its next call."""
        if now != self.surroundings:
            try:
                send(self._line, (CHANGES, pickle.dumps(now.since(self.surroundings))), [])
            except (BlockingIOError, ConnectionError):
                self.kill()  # the one that replaces it will have them
            self.surroundings = now

    def post(self) -> bool:
        """Sends the batch; False, and nothing is sent, if there is no room."""
        batch, self.batch = self.batch, Batch()
        try:
            form = PLAIN_ORDERS if batch.is_plain else ORDERS
            send(self._line, (form, batch.orders), batch.descriptors)
            os.write(self._tickets, batch.tickets())
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:  # too many descriptors on their way
                return False
            raise
        return True

    def take_back(self, most: int) -> list[int]:
        """Takes back calls that it has not begun; their numbers."""
        try:
            tickets = os.read(self._queue, most * TICKET.size)
            os.write(self._tickets, TICKET.pack(FORGET | self.assigned.last + 1))
        except BlockingIOError:
            tickets = b""
        return [number for (number,) in TICKET.iter_unpack(tickets) if number < FORGET]

    # -- what it reports --------------------------------------------------------------------

    def outcomes(self, to_the_end: bool = False) -> list[Outcome]:
        """The outcomes that it has reported since the last time.

        Args:
            to_the_end: read until the end of the pipe: the process has ended.
        """
        outcomes: list[Outcome] = []
        while True:
            try:
                data = os.read(self._reports, LONGEST)
            except BlockingIOError:
                return outcomes
            if not data:
                self.has_closed = True
                return outcomes
            self._read(self._unread + data if self._unread else data, outcomes)
            if len(data) < LONGEST and not to_the_end:
                return outcomes

    def _read(self, data: bytes, outcomes: list[Outcome]) -> None:
        unpack = REPORT.unpack_from
        offset, last = 0, len(data) - REPORT.size
        while offset <= last:
            size, number, kind, started_s, ended_s, cpu_s, peak_bytes = unpack(data, offset)
            begin = offset + REPORT.size
            end = begin + size
            is_in_segment, kind = kind & IN_SEGMENT, kind & ~IN_SEGMENT
            content: Packed | None = None
            if size < LONGEST and kind <= IMPORTED:
                if end > len(data):
                    break
                content = self._segment() if is_in_segment else data[begin:end]
            if content is None:
                self.kill()  # something else wrote to its pipes, so nothing in them can be trusted
                data = b""
                break
            offset = end
            if kind in OUTCOMES:
                used = None if cpu_s < 0 else (cpu_s, peak_bytes or None)
                outcomes.append((kind, number, content, started_s, ended_s, used))
            else:
                self._on_report(self, kind, number, content)
        self._unread = data[offset:]

    def _segment(self) -> Segment | None:
        """The next segment that it has sent, or None if it is not one."""
        for _ in range(2):
            try:
                sizes, descriptors = receive(self._line)
                segment = Segment(sizes, next(descriptors, -1))
            except ConnectionResetError:  # raised once, if it left orders behind: it is dead
                continue
            except (OSError, ValueError, EOFError, TypeError):
                return None
            if segment.fd > MANY_DESCRIPTORS * resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
                segment.copy_and_close()
            return segment
        return None

    # -- its end ----------------------------------------------------------------------------

    @property
    def watched(self) -> int:
        """The descriptor that becomes readable at its end (without pidfds also at each report)."""
        return self._reports if self._exit < 0 else self._exit

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, once `watched` is readable and its reports were read."""
        return self._exit >= 0 or self.has_closed

    def shut_down(self) -> None:
        """Lets it end after its remaining calls."""
        os.close(self._tickets)
        self._tickets = -1

    def wait_for_exit(self, timeout_s: float = EXIT_GRACE_S) -> None:
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass

    def kill(self) -> None:
        """Kills the process and all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS raises the latter for a zombie
            pass
        try:  # it may have left its group
            if self._exit >= 0:
                signal.pidfd_send_signal(self._exit, signal.SIGKILL)
            elif self.process.returncode is None:
                os.kill(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait(self) -> ReturnCode:
        """Waits for its end; its return code."""
        if self.process.returncode is None:
            try:
                _, status = os.waitpid(self.process.pid, 0)
            except ChildProcessError:  # where Popen would say that the code was 0
                return None
            self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode

    def release(self) -> None:
        """Closes all of the parent's descriptors for it."""
        self._line.close()
        for descriptor in (self._tickets, self._queue, self._reports, self._lifeline, self._exit):
            if descriptor >= 0:
                os.close(descriptor)

    def __repr__(self) -> str:
        return f"{self.name} (pid {self.process.pid})"


def extra_environment() -> dict[str, str]:
    """What workers are started with beyond the program's environment.

    One seed for all, so that tasks agree on the hash of a string, for example to partition work.
    """
    return {} if "PYTHONHASHSEED" in os.environ else {"PYTHONHASHSEED": HASH_SEED}


def how_it_ended(status: ReturnCode) -> str:
    """How a process ended, in words."""
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
