"""CPU and memory of a process tree, measured from a process of its own.

`Sampler` starts this module as a process, which finds the tree with psutil before a timed region
and then only reads the clocks of the processes that it knows::

    parent                     sampler
    begin  ------------------> finds the tree, reads every CPU clock
           <------------------ ready
    (timed run)                reads the clocks every 25 ms: the curve
    end    ------------------> finds the tree again, reads every CPU clock: the total
           <------------------ {"cpu_s": ..., "busy": ..., "memory_bytes": ...}

Totals are differences of cumulative times, with those of children that ended meanwhile, once
their parents have waited for them. The clocks are POSIX CPU clocks (clock_getcpuclockid(3)) where
they exist, as psutil's times come in steps of 10 ms, which is too coarse for a run of 50 ms.
"""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Self

import psutil

from bench import BenchError
from executors.interpreter import module_command, module_environment

INTERVAL_S = 0.025
MEMORY_EVERY = 4  # intervals; resident sizes cost more to read than clocks


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process tree used between `begin` and `end`.

    Attributes:
        cpu_s: CPU seconds of all its processes.
        busy: (monotonic time, cores busy since the point before).
        memory_bytes: the largest sum of resident sizes seen, every 100 ms and at both ends.
    """

    cpu_s: float
    busy: list[tuple[float, float]]
    memory_bytes: int


class Sampler:
    """Samples this process and its children, without the sampler itself.

    A context manager; on entry the sampling process is started.
    """

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            module_command("bench.machine.sampler"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=module_environment(),
            process_group=0,  # Ctrl-C in the terminal is not for it
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        try:
            self._process.communicate()
        except OSError:
            pass  # it was gone before

    @property
    def pid(self) -> int:
        """Of the sampling process."""
        return self._process.pid

    def begin(self) -> None:
        """Returns when the sampler has seen the tree as it is now."""
        self._ask("begin")

    def end(self) -> Sample:
        """What was used since `begin`."""
        made = json.loads(self._ask("end"))
        busy = [(at_s, cores) for at_s, cores in made["busy"]]
        return Sample(made["cpu_s"], busy, made["memory_bytes"])

    def _ask(self, request: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise BenchError("the process that samples CPU time has ended, and the run with it")
        return answer


def main() -> None:
    """The sampling process: answers requests until its parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    itself = psutil.Process()
    parent = itself.parent()
    if parent is None:
        return

    def tree() -> list[psutil.Process]:
        return [parent, *(each for each in parent.children(recursive=True) if each != itself)]

    while sys.stdin.readline():  # begin
        known = tree()
        memory_bytes = _memory_bytes(known)
        first_s = _total_s(known)
        points = [(time.monotonic(), _clocks_s(known))]
        print("ready", flush=True)  # noqa: T201 - the answer to the parent
        while not select.select([sys.stdin], [], [], INTERVAL_S)[0]:
            points.append((time.monotonic(), _clocks_s(known)))
            if len(points) % MEMORY_EVERY == 0:
                memory_bytes = max(memory_bytes, _memory_bytes(known))
        points.append((time.monotonic(), _clocks_s(known)))
        sys.stdin.readline()  # end
        known = tree()
        answer = {
            "cpu_s": _total_s(known) - first_s,
            "busy": _busy(points),
            "memory_bytes": max(memory_bytes, _memory_bytes(known)),
        }
        print(json.dumps(answer), flush=True)  # noqa: T201


def _busy(points: list[tuple[float, dict[int, float]]]) -> list[tuple[float, float]]:
    """Cores busy in each interval, at its end: the rise of the CPU clocks over the time."""
    busy = []
    for (before_s, before), (at_s, clocks) in pairwise(points):
        rise_s = sum(clocks[pid] - before.get(pid, clocks[pid]) for pid in clocks)
        if at_s > before_s:
            busy.append((round(at_s, 6), round(rise_s / (at_s - before_s), 4)))
    return busy


def _clocks_s(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """CPU seconds of each process so far, without its children; ended ones are left out."""
    clocks = {}
    for process in processes:
        try:
            clocks[process.pid] = _clock_s(process)
        except (psutil.Error, OSError):
            continue
    return clocks


def _clock_s(process: psutil.Process) -> float:
    if sys.platform == "linux":
        # The clock of another process, made from its pid as clock_getcpuclockid does.
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return times.user + times.system


def _total_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds of all so far, with the children that they have waited for.

    A process that ends later moves from its own clock to its parent's children: the sum stays.
    """
    total_s = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
            total_s += _clock_s(process) + times.children_user + times.children_system
        except (psutil.Error, OSError):
            continue
    return total_s


def _memory_bytes(processes: Iterable[psutil.Process]) -> int:
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        pass  # the parent was killed
