"""How many CPUs this process may really use, and why.

`os.cpu_count()` counts those of the machine. A container or a job scheduler usually grants fewer,
by CPU affinity or by a cgroup quota; a pool sized for the machine is then slower, not faster.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executors.errors import BackendError

OVERRIDE = "EXECUTOR_BENCH_CPUS"


@dataclass(frozen=True, slots=True)
class CpuBudget:
    """The limits on this process; None for a limit that does not apply.

    Attributes:
        installed: logical CPUs of the machine.
        affinity: CPUs on which the scheduler may run this process.
        quota: the smallest cgroup quota of this group and its ancestors, in CPUs.
        override: the environment variable EXECUTOR_BENCH_CPUS.
    """

    installed: int
    affinity: int | None
    quota: float | None
    override: int | None

    @property
    def usable(self) -> int:
        if self.override is not None:
            return self.override
        granted = self.affinity or self.installed
        if self.quota is None:
            return granted
        return max(1, min(granted, math.ceil(self.quota)))


def usable_cpus() -> int:
    """CPUs that this process may use, at least 1: the default number of workers."""
    return cpu_budget().usable


def crowding() -> float:
    """How many processes wanted each of these CPUs in the last minute; at least 1."""
    try:
        return max(1.0, os.getloadavg()[0] / usable_cpus())
    except OSError:  # it is not known
        return 1.0


def cpu_budget(root: Path = Path("/")) -> CpuBudget:
    """The breakdown behind `usable_cpus()`; `root` holds the `proc` and `sys` to read.

    Raises:
        BackendError: EXECUTOR_BENCH_CPUS is not a positive whole number.
    """
    smallest = min(quotas(root).values(), default=None)
    return CpuBudget(os.cpu_count() or 1, _affinity(), smallest, _override())


def _affinity() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return None


def _override() -> int | None:
    text = os.environ.get(OVERRIDE)
    if not text:
        return None
    if text.isdecimal() and len(text) < 10 and int(text) > 0:
        return int(text)
    raise BackendError(f"{OVERRIDE} must be a whole number of CPUs >= 1, not {text!r}")


def quotas(root: Path = Path("/")) -> dict[Path, float]:
    """The cgroup quotas on this process, in CPUs, by the folder that sets them.

    The nearest group comes first, then its ancestors; the smallest quota counts.
    """
    limits = {folder: _quota(folder) for folder in cgroups(root)}
    return {folder: cpus for folder, cpus in limits.items() if cpus is not None}


def cgroups(root: Path = Path("/")) -> Iterator[Path]:
    """Folders of this process's CPU groups and their ancestors, for cgroups version 1 or 2."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        mounts = ["."] if controllers == "" else []  # version 2 has one hierarchy
        if "cpu" in controllers.split(","):
            mounts = ["cpu", "cpu,cpuacct", "cpuacct,cpu"]
        for mount in mounts:
            yield from _with_ancestors(root / "sys/fs/cgroup" / mount, group)


def _with_ancestors(mount: Path, group: str) -> Iterator[Path]:
    folder = mount / group.lstrip("/")
    yield folder
    while folder != mount and mount in folder.parents:
        folder = folder.parent
        yield folder


def _quota(folder: Path) -> float | None:
    """Quota over period of one group; "max" and -1 mean no quota."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")  # version 2
    if not quota:
        quota = _read(folder / "cpu.cfs_quota_us")
        period = _read(folder / "cpu.cfs_period_us")
    quota, period = quota.strip(), period.strip()
    if quota.isdecimal() and period.isdecimal() and int(period):
        return int(quota) / int(period)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def has_interpreter_lock() -> bool:
    """Whether threads of this interpreter take turns at a lock (GIL)."""
    is_enabled: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    return is_enabled
