"""CPU time and memory of a process tree, measured from another process.

`Sampler` starts this module as a process, which finds the tree with psutil before a timed region
and then only reads the clocks of the processes that it knows::

    parent                     sampler
    begin  ------------------> finds the tree, reads every CPU clock
           <------------------ ready
    (timed run)                reads the clocks every 25 ms: the curve
    end    ------------------> finds the tree again, reads every CPU clock: the total
           <------------------ {"cpu_s": ..., "busy": ..., "memory_bytes": ...}

Totals are differences of cumulative times, including those of children that ended in between and
that their parents have waited for. The clocks are POSIX CPU clocks (clock_getcpuclockid(3)) where
they exist: the times of psutil have steps of 10 ms, too coarse for a run of 50 ms.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self, TextIO

import psutil

from bench import BenchError
from executors.imports.interpreter import module_command

INTERVAL_S = 0.025
MEMORY_EVERY = 4  # intervals: reading resident sizes takes longer than reading clocks


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process tree used between `begin` and `end`.

    Attributes:
        cpu_s: CPU seconds of all its processes.
        busy: pairs of a monotonic time and the average of busy cores since the previous pair.
        memory_bytes: the largest sum of resident sizes, sampled every 100 ms and at both ends.
    """

    cpu_s: float
    busy: list[tuple[float, float]]
    memory_bytes: int


class Sampler:
    """Samples this process and its children, except the sampling process itself.

    A context manager; on entry it starts the sampling process.
    """

    def __enter__(self) -> Self:
        answers, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                module_command("bench.machine.sampler", theirs),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # other packages may print when Python starts
                text=True,
                bufsize=1,
                pass_fds=[theirs],
                process_group=0,  # so that Ctrl-C in the terminal does not reach it
            )
        except BaseException:
            os.close(answers)
            raise
        finally:
            os.close(theirs)
        self._answers = os.fdopen(answers, encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        try:
            self._process.communicate()
        except OSError:
            pass  # it had ended before
        self._answers.close()

    @property
    def pid(self) -> int:
        """The process id of the sampling process."""
        return self._process.pid

    def begin(self) -> None:
        """Returns when the sampler has read the tree in its present state."""
        self._request("begin")

    def end(self) -> Sample:
        """The use since `begin`."""
        sample = json.loads(self._request("end"))
        busy = [(at_s, cores) for at_s, cores in sample["busy"]]
        return Sample(sample["cpu_s"], busy, sample["memory_bytes"])

    def _request(self, request: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + "\n")
            answer = self._answers.readline()
        except OSError:
            answer = ""
        if not answer:
            raise BenchError("the process that samples CPU time has ended, and the run with it")
        return answer


def main() -> None:
    """The sampling process: answers requests until its parent hangs up."""
    try:
        with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answers:
            _answer(answers)
    except (BrokenPipeError, psutil.NoSuchProcess):
        pass  # the parent was killed


def _answer(answers: TextIO) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    itself = psutil.Process()
    parent = itself.parent()
    if parent is None:
        return

    def tree() -> list[psutil.Process]:
        return [parent, *(child for child in parent.children(recursive=True) if child != itself)]

    while sys.stdin.readline():  # begin
        known = tree()
        memory_bytes = _memory_bytes(known)
        first_s = _total_s(known)
        points = [(time.monotonic(), _clocks_s(known))]
        print("ready", file=answers, flush=True)
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
        print(json.dumps(answer), file=answers, flush=True)


def _busy(points: list[tuple[float, dict[int, float]]]) -> list[tuple[float, float]]:
    """For each interval, its end and the busy cores: the increase of the CPU clocks over time."""
    busy = []
    for (before_s, before), (at_s, clocks) in pairwise(points):
        used_s = sum(clocks[pid] - before.get(pid, clocks[pid]) for pid in clocks)
        if at_s > before_s:
            busy.append((round(at_s, 6), round(used_s / (at_s - before_s), 4)))
    return busy


def _clocks_s(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """CPU seconds of each process so far, without its children; without ended processes."""
    clocks = {}
    for process in processes:
        try:
            clocks[process.pid] = _clock_s(process)
        except (psutil.Error, OSError):
            continue
    return clocks


def _clock_s(process: psutil.Process) -> float:
    if sys.platform == "linux":
        # The clock of another process, computed from its pid like clock_getcpuclockid does.
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return times.user + times.system


def _total_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds of all processes so far, including children that they have waited for.

    When a process ends, its time moves from its own clock to its parent's children: the sum stays.
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
