"""The processor time of attempts, read so seldom that short tasks hardly notice.

Reading a thread's clock is a system call (0.3 to 0.6 us), a tenth of the time of an empty task. So
it is read at the end of an attempt, and only if `SHORT_S` have passed since the last reading. What
a shorter attempt computes is then unknown. A longer one counts from the last reading, so it may be
given up to `SHORT_S` of what its thread did in between; and never more than all of its time.
"""

from __future__ import annotations

import os
from time import monotonic, thread_time

SHORT_S = 100e-6
LONG_S = 5e-3  # of an attempt whose peak memory is read, which takes 7 us
_PEAK = b"VmHWM:"


class CpuMeter:
    """Reads the clock of the thread that uses it.

    Attributes:
        reads_start: the last attempt was long, so another reading takes little beside it.
        due_s: an attempt that ends later is measured by `end`.
    """

    __slots__ = ("_cpu_s", "due_s", "reads_start")

    def __init__(self) -> None:
        self.reads_start = True
        self.due_s = 0.0
        self._cpu_s = 0.0

    def begin(self) -> float:
        """Reads the clock before an attempt; returns `due_s`."""
        self.reads_start = False
        self._cpu_s = thread_time()
        self.due_s = monotonic() + SHORT_S
        return self.due_s

    def end(self, started_s: float, ended_s: float) -> float:
        """The seconds that the thread computed in an attempt, at most all of its time."""
        now_cpu_s = thread_time()
        took_s = ended_s - started_s
        used_s = min(took_s, now_cpu_s - self._cpu_s)
        self._cpu_s = now_cpu_s
        self.due_s = ended_s + SHORT_S
        self.reads_start = took_s >= SHORT_S
        return used_s


class PeakMemory:
    """The largest resident size of this process so far.

    `getrusage` would be faster, but a process inherits the peak of the one that started it.
    """

    def __init__(self) -> None:
        try:
            self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # not Linux
            self._status = -1

    def read(self) -> int:
        """In bytes; 0 if the system does not say."""
        if self._status < 0:
            return 0
        _, _, rest = os.pread(self._status, 4096, 0).partition(_PEAK)
        size = rest.partition(b"kB")[0]
        return 1024 * int(size) if size else 0
