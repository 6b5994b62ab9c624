"""One worker process, seen from its parent."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from executors.backends.orders import Packet
from executors.backends.packing import Packed, Segment
from executors.backends.wire import (
    FORGET,
    IN_SEGMENT,
    LOG,
    LONGEST,
    MESSAGES,
    OUTCOMES,
    REPORT,
    TICKET,
    Setup,
    receive,
    send,
)
from executors.errors import BackendError
from executors.interpreter import module_command, module_environment
from executors.records import Call

EXIT_GRACE_S = 1.0
BYTES = 20_000_000  # resident memory of an idle worker, rounded up
DESCRIPTORS = 6
SPARE_DESCRIPTORS = 64
MANY_DESCRIPTORS = 0.75  # of those that this process may have: then segments are copied

# The outcome of a call: its kind, the call's number, what it is, start and end of the action.
Outcome = tuple[int, int, Packed, float, float]


class Child:
    """One worker process, seen from the parent.

    Args:
        number: for its name.
        bell: the descriptor that it rings.
        note: called with the child, and kind and content of each report that is not the outcome
            of a call.

    Attributes:
        calls: what was given to it and has not ended, by number, in the order in which it makes
            them. The first one is running, or will be as soon as the worker looks.
        following: numbers of the calls that wait for the one before them.
        last: number of the call that was given last; numbers rise.
        leader: the same, if another one may follow it, or 0.
        unrung: how many calls were given since the last one after which it rings.
        packet: calls that `post` will send.
        begun: the first of `calls`, from `begun_s` on, as far as the session was told.
        heard_s: when it last reported, or got a call while it had none.
        is_slow: what it runs takes so long that it gets nothing more until it reports.
    """

    def __init__(
        self, number: int, bell: int, note: Callable[[Child, int, Packed], object]
    ) -> None:
        self.number = number
        self.name = f"process-{number}"
        self.calls: dict[int, Call] = {}
        self.following: set[int] = set()
        self.last = self.leader = 0
        self.unrung = 0
        self.begun: Call | None = None
        self.hired_s = self.begun_s = self.heard_s = monotonic()
        self.is_ready = self.is_slow = self.has_hung_up = False
        self.packet = Packet()
        self._note = note
        self._unread = b""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, MESSAGES)
        self._queue, self._tickets = os.pipe()
        self._reports, reports = os.pipe()
        lifeline, self._lifeline = os.pipe()
        self._exit = -1  # becomes readable when the process has ended
        inherited = (self._queue, theirs.fileno(), reports, bell, lifeline)
        try:
            self.process = subprocess.Popen(
                module_command("executors.backends.worker", *inherited),
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                process_group=0,
                env=module_environment(),
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

    # -- what it has to do ------------------------------------------------------------------

    def drop(self, number: int) -> Call | None:
        """Takes a call from the list of what it has to do, if it is there."""
        self.following.discard(number)
        return self.calls.pop(number, None)

    def prepare(self, setup: Setup) -> None:
        """Tells it what to do before it is ready."""
        try:
            send(self._line, pickle.dumps(setup), [])
        except ConnectionError:
            pass  # it is gone: its end will tell

    def post(self) -> bool:
        """Sends what is in its packet; False, and nothing is sent, when there is no room."""
        packet, self.packet = self.packet, Packet()
        try:
            send(self._line, (packet.is_plain, packet.orders), packet.descriptors)
            os.write(self._tickets, packet.tickets())
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:  # descriptors on their way
                return False
            raise
        return True

    def take_back(self, most: int) -> list[int]:
        """Numbers of calls that it has not begun, and will not."""
        try:
            tickets = os.read(self._queue, most * TICKET.size)
            os.write(self._tickets, TICKET.pack(FORGET | self.last + 1))
        except BlockingIOError:
            tickets = b""
        return [number for (number,) in TICKET.iter_unpack(tickets) if number < FORGET]

    # -- what it has done -------------------------------------------------------------------

    def hear(self, to_the_end: bool = False) -> list[Outcome]:
        """What became of calls since it was last heard; to the end, when nothing more can come."""
        outcomes: list[Outcome] = []
        while True:
            try:
                data = os.read(self._reports, LONGEST)
            except BlockingIOError:
                return outcomes
            if not data:
                self.has_hung_up = True
                return outcomes
            self._read(self._unread + data if self._unread else data, outcomes)
            if len(data) < LONGEST and not to_the_end:
                return outcomes

    def _read(self, data: bytes, outcomes: list[Outcome]) -> None:
        at, last = 0, len(data) - REPORT.size
        while at <= last:
            size, number, kind, started_s, ended_s = REPORT.unpack_from(data, at)
            begin = at + REPORT.size
            end = begin + size
            is_in_segment, kind = kind & IN_SEGMENT, kind & ~IN_SEGMENT
            content: Packed | None = None
            if size < LONGEST and kind <= LOG:
                if end > len(data):
                    break
                content = self._segment() if is_in_segment else data[begin:end]
            if content is None:
                self.kill()  # something else wrote to its pipes: nothing there can be trusted
                data = b""
                break
            at = end
            if kind in OUTCOMES:
                outcomes.append((kind, number, content, started_s, ended_s))
            else:
                self._note(self, kind, content)
        self._unread = data[at:]

    def _segment(self) -> Segment | None:
        """The next one that it has sent, or None if something is wrong."""
        for _ in range(2):
            try:
                sizes, descriptors = receive(self._line)
                segment = Segment(sizes, next(descriptors, -1))
            except ConnectionResetError:  # said once, when it left orders behind: it is dead
                continue
            except (OSError, ValueError, EOFError, TypeError):
                return None
            if segment.fd > MANY_DESCRIPTORS * resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
                segment.let_go()
            return segment
        return None

    # -- its end ----------------------------------------------------------------------------

    @property
    def watched(self) -> int:
        """The descriptor that becomes readable at its end, and without pidfds at each report."""
        return self._reports if self._exit < 0 else self._exit

    @property
    def has_ended(self) -> bool:
        """Whether it has, once `watched` is readable and what it reported was heard."""
        return self._exit >= 0 or self.has_hung_up

    def dismiss(self) -> None:
        """Asks it to end after what it was given."""
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
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
            pass
        self.process.kill()  # it may have left its group

    def release(self) -> None:
        """Closes what the parent holds of it."""
        self._line.close()
        for descriptor in (self._tickets, self._queue, self._reports, self._lifeline, self._exit):
            if descriptor >= 0:
                os.close(descriptor)

    def __repr__(self) -> str:
        return f"{self.name} (pid {self.process.pid})"


def check_room(workers: int) -> None:
    """Refuses more workers than there are descriptors or memory for.

    Raises:
        BackendError: says how much is needed and how much there is.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = workers * DESCRIPTORS + SPARE_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise BackendError(
            f"{workers} worker processes need about {needed} open files, and the limit is {limit};"
            " use fewer workers, or raise it with: ulimit -n"
        )
    free = _available_bytes()
    if free is not None and workers * BYTES > free:
        raise BackendError(
            f"{workers} worker processes need about {workers * BYTES / 1e9:.1f} GB of"
            f" memory, and {free / 1e9:.1f} GB are free; use fewer workers"
        )


def _available_bytes() -> int | None:
    """Memory that processes can have without swapping, where the system says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None


def how_it_ended(status: int) -> str:
    """How a process ended, from its return code as subprocess gives it."""
    if status >= 0:
        return f"exited with code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
