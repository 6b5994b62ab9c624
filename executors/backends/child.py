"""One worker process, seen from its parent."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import socket
import subprocess
import weakref
from pathlib import Path
from time import monotonic

from executors.backends.wire import CELL, REPLY, SIZE, shared_cell
from executors.errors import BackendError
from executors.interpreter import module_command, module_environment
from executors.records import Call

EXIT_GRACE_S = 1.0
BYTES = 20_000_000  # resident memory of an idle worker, rounded up
DESCRIPTORS = 4
SPARE_DESCRIPTORS = 64
CHUNK = 1 << 14  # of a reply; most are short, and room for more would cost them 15 us
LONG_CHUNK = 1 << 20


class Child:
    """One worker process, seen from the parent."""

    def __init__(self, number: int) -> None:
        self.name = f"process-{number}"
        self.is_ready = False
        self.has_hung_up = False
        self.hired_s = monotonic()
        self.call: Call | None = None
        self.taken_s = 0.0
        self.unsent = memoryview(b"")
        self.unread = bytearray()
        self.socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        self._sent = 0  # calls
        cell = shared_cell()
        self._begun = mmap.mmap(cell, CELL.size)
        inherited = (theirs.fileno(), lifeline, cell)
        try:
            self.process = subprocess.Popen(
                module_command("executors.backends.worker", *inherited),
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                process_group=0,
                env=module_environment(),
            )
        except BaseException:
            self.socket.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline)
            os.close(cell)
        self.socket.setblocking(False)
        _children.add(self)
        self.exit_fd = os.pidfd_open(self.process.pid) if hasattr(os, "pidfd_open") else -1

    def order(self, call: Call, message: bytes, now_s: float) -> None:
        """Gives it a call."""
        self._sent += 1
        self.call = call
        self.taken_s = now_s
        self.send(message)

    @property
    def has_begun(self) -> bool:
        """Whether it has begun its call, as far as it got to say so; it may be dead by now."""
        return bool(CELL.unpack_from(self._begun)[0] == self._sent)

    def send(self, message: bytes) -> None:
        """Sends as much as goes now; the rest waits in `unsent`."""
        self.unsent = memoryview(SIZE.pack(len(message)) + message)
        self.send_more()

    def send_more(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # it is gone: reading will tell
            self.unsent = memoryview(b"")

    def receive(self, to_the_end: bool = False) -> tuple[int, bytes, bytes, float, float] | None:
        """The reply, when all of it is here: kind, outcome, records, start and end."""
        size = LONG_CHUNK if self.unread else CHUNK
        try:
            while True:
                data = self.socket.recv(size)
                self.unread += data
                if not data:
                    self.has_hung_up = True
                if not data or (len(data) < size and not to_the_end):
                    break
                size = LONG_CHUNK
        except BlockingIOError:
            pass
        except ConnectionError:
            self.has_hung_up = True
        if len(self.unread) < REPLY.size:
            return None
        kind, size, records_size, started_s, ended_s = REPLY.unpack_from(self.unread)
        middle = REPLY.size + size
        end = middle + records_size
        if len(self.unread) < end:
            return None
        with memoryview(self.unread) as unread:
            outcome, records = bytes(unread[REPLY.size : middle]), bytes(unread[middle:end])
        self.unread = bytearray()
        return kind, outcome, records, started_s, ended_s

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
        self.socket.close()
        self._begun.close()
        os.close(self._lifeline)
        if self.exit_fd >= 0:
            os.close(self.exit_fd)

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
