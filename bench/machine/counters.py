"""The system's counters: which processes used the CPUs, and which waited for them.

Nothing is judged here; `noise.py` does that.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from executors.cpus import cgroups

WATCH_S = 0.5
INTERVAL_S = 0.01


@dataclass(frozen=True, slots=True)
class Interference:
    """What other processes did while one pool was measured; None if the system does not say.

    Attributes:
        backend, workers, block, python: those of the pool.
        wall_s: from before its start to after its end.
        foreign_s: CPU time of other processes, on the CPUs that this process may use.
        steal_s: CPU time that the hypervisor took away.
        throttled_s: time in which the quota of this process's cgroup stopped it.
        stalled_s: time in which some process waited for a CPU (pressure stall information).
    """

    backend: str
    workers: int
    block: int
    wall_s: float
    foreign_s: float
    steal_s: float | None
    throttled_s: float | None
    stalled_s: float | None
    python: str = ""


class SystemCounters:
    """The counters of the system until now, and of this process with its children."""

    def __init__(self, root: Path = Path("/")) -> None:
        import psutil

        self.at_s = time.monotonic()
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        cpus = psutil.cpu_times(percpu=True)  # only those online, so numbers may be missing
        if mine is not None and len(mine) < len(cpus):
            cpus = [times for cpu, times in enumerate(cpus) if cpu in mine]
        idle_s = sum(times.idle + getattr(times, "iowait", 0.0) for times in cpus)
        steals = [times.steal for times in cpus if hasattr(times, "steal")]
        self.steal_s = sum(steals) if steals else None
        # Everything that is not idle; `guest` is part of `user`.
        self.busy_s = len(cpus) * self.at_s - idle_s - (self.steal_s or 0.0)
        self.own_s = _own_s()
        self.throttled_s = _throttled_s(root)
        self.stalled_s = _stalled_s(root)

    def since(
        self, before: SystemCounters, backend: str, workers: int, block: int, python: str = ""
    ) -> Interference:
        """The difference to earlier counters, for one pool."""
        own_s = self.own_s - before.own_s
        return Interference(
            backend,
            workers,
            block,
            self.at_s - before.at_s,
            self.busy_s - before.busy_s - own_s,
            _rise(self.steal_s, before.steal_s),
            max(
                (
                    now_s - before.throttled_s.get(folder, now_s)
                    for folder, now_s in self.throttled_s.items()
                ),
                default=None,
            ),
            _rise(self.stalled_s, before.stalled_s),
            python,
        )


def _own_s() -> float:
    """CPU time of this process and of all its children, including those that have ended."""
    import psutil

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own_s = sum(usage.ru_utime + usage.ru_stime for usage in used)
    for child in psutil.Process().children(recursive=True):
        try:
            own_s += sum(child.cpu_times()[:4])  # user and system, its own and its children's
        except psutil.Error:
            continue
    return own_s


def _throttled_s(root: Path) -> dict[Path, float]:
    """How long quotas have stopped this process's group and its ancestors, summed over CPUs."""
    throttled_s = {}
    for folder in cgroups(root):
        for name, unit_s in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)):
            value = _field(folder / "cpu.stat", name)
            if value is not None:
                throttled_s[folder] = value * unit_s
    return throttled_s


def _stalled_s(root: Path) -> float | None:
    total = _field(root / "proc/pressure/cpu", "some", "total=")
    return None if total is None else total * 1e-6


def _field(path: Path, name: str, label: str = "") -> float | None:
    """The number after a name, or after a label in the line with that name."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        first, *rest = line.split()
        for word in rest if first == name else ():
            if word.startswith(label):
                return float(word.removeprefix(label))
    return None


def _rise(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def others_running(seconds: float = WATCH_S, root: Path = Path("/")) -> float | None:
    """The average number of other processes that want a CPU; blocks for `seconds`.

    Unlike the load average, it forgets processes that have ended. None without /proc/stat.
    """
    samples = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        running = _field(root / "proc/stat", "procs_running")
        if running is None:
            return None
        samples.append(running - 1)  # excluding this process
        time.sleep(INTERVAL_S)
    return sum(samples) / len(samples)
