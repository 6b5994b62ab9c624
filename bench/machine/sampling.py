"""The process that samples CPU time and memory of another process tree; see `sampler.py`.

Totals are differences of cumulative times, including those of children that ended in between and
that their parents have waited for. The clocks are POSIX CPU clocks (clock_getcpuclockid(3)) where
they exist: the times of psutil have steps of 10 ms, too coarse for a run of 50 ms.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import TextIO

import psutil

INTERVAL_S = 0.025
MEMORY_EVERY = 4  # intervals: reading resident sizes takes longer than reading clocks


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

    def tree(root: psutil.Process) -> list[psutil.Process]:
        return [root, *(child for child in root.children(recursive=True) if child != itself)]

    while words := sys.stdin.readline().split():  # begin and a process id
        root = psutil.Process(int(words[1]))
        known = tree(root)
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
        known = tree(root)
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
