"""One worker process, seen from its parent."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import socket
import subprocess
import weakref
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

# A report as its reader sees it: kind, number of the call, outcome, start and end of the action.
Report = tuple[int, int, Packed, float, float]


class Child:
    """One worker process, seen from the parent.

    Attributes:
        calls: what was given to it and has not ended, by number, in the order in which it makes
            them. The first one is running, or will be as soon as the worker looks.
        following: numbers of the calls that wait for the one before them.
        leader: number of the call that was given last, if another one may follow it, or 0.
        unrung: how many calls were given since the last one after which it rings.
        packet: calls that `post` will send.
        begun: the first of `calls`, from `begun_s` on, as far as the session was told.
        heard_s: when it last reported, or got a call while it had none.
        is_slow: what it runs takes so long that it gets nothing more until it reports.
    """

    def __init__(self, number: int, bell: int) -> None:
        self.number = number
        self.name = f"process-{number}"
        self.calls: dict[int, Call] = {}
        self.following: set[int] = set()
        self.leader = 0
        self.unrung = 0
        self.begun: Call | None = None
        self.hired_s = self.begun_s = self.heard_s = monotonic()
        self.is_ready = self.is_slow = self.has_hung_up = False
        self.packet = Packet()
        self._unread = b""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, MESSAGES)
        self._tickets, self._queue = socket.socketpair()
        self._reports, reports = os.pipe()
        lifeline, self._lifeline = os.pipe()
        inherited = (self._queue.fileno(), theirs.fileno(), reports, bell, lifeline)
        try:
            self.process = subprocess.Popen(
                module_command("executors.backends.worker", *inherited),
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                process_group=0,
                env=module_environment(),
            )
        except BaseException:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(reports)
            os.close(lifeline)
        self._line.setblocking(False)
        self._tickets.setblocking(False)
        os.set_blocking(self._reports, False)
        _children.add(self)
        self._exit = os.pidfd_open(self.process.pid) if hasattr(os, "pidfd_open") else None

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
            self._tickets.send(packet.tickets())
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:  # descriptors on their way
                return False
            raise
        return True

    def take_back(self, most: int, next_number: int) -> list[int]:
        """Numbers of calls that it has not begun, and will not."""
        try:
            tickets = self._queue.recv(most * TICKET.size, socket.MSG_DONTWAIT)
            self._tickets.send(TICKET.pack(FORGET | next_number))
        except BlockingIOError:
            tickets = b""
        return [number for (number,) in TICKET.iter_unpack(tickets) if number < FORGET]

    # -- what it has done -------------------------------------------------------------------

    def hear(self, to_the_end: bool = False) -> list[Report]:
        """What it has reported since; to the end, when nothing more can come."""
        reports: list[Report] = []
        while True:
            try:
                data = os.read(self._reports, LONGEST)
            except BlockingIOError:
                return reports
            if not data:
                self.has_hung_up = True
                return reports
            self._read(self._unread + data if self._unread else data, reports)
            if len(data) < LONGEST and not to_the_end:
                return reports

    def _read(self, data: bytes, reports: list[Report]) -> None:
        at, last = 0, len(data) - REPORT.size
        while at <= last:
            size, number, kind, started_s, ended_s = REPORT.unpack_from(data, at)
            begin = at + REPORT.size
            end = begin + size
            outcome: Packed | None = None
            if size < LONGEST and kind & ~IN_SEGMENT <= LOG:
                if end > len(data):
                    break
                outcome = self._segment() if kind & IN_SEGMENT else data[begin:end]
            if outcome is None:
                self.kill()  # something else wrote to its pipes: nothing there can be trusted
                data = b""
                break
            reports.append((kind & ~IN_SEGMENT, number, outcome, started_s, ended_s))
            at = end
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
        return self._reports if self._exit is None else self._exit

    @property
    def has_ended(self) -> bool:
        """Whether it has, once `watched` is readable and what it reported was heard."""
        return self._exit is not None or self.has_hung_up

    def dismiss(self) -> None:
        """Asks it to end after what it was given."""
        self._tickets.close()

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

    def release(self) -> None:
        """Closes what the parent holds of it."""
        _children.discard(self)
        if self._exit is not None:
            os.close(self._exit)
        self._close()

    def _close(self) -> None:
        for channel in (self._line, self._tickets, self._queue):
            channel.close()
        os.close(self._reports)
        os.close(self._lifeline)

    def __repr__(self) -> str:
        return f"{self.name} (pid {self.process.pid})"


_children: weakref.WeakSet[Child] = weakref.WeakSet()


def _let_go_after_fork() -> None:
    """A forked child of this program must not keep workers alive when the program has ended."""
    for child in list(_children):
        child.release()


os.register_at_fork(after_in_child=_let_go_after_fork)


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
