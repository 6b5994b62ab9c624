"""How many CPUs this process may really use, and why.

`os.cpu_count()` tells what the machine has. A container or a job scheduler usually grants
less, by CPU affinity or by a cgroup quota; a pool sized for the machine is then slower, not
faster.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executors.errors import BackendError

OVERRIDE = "EXECUTOR_BENCH_CPUS"


@dataclass(frozen=True, slots=True)
class CpuBudget:
    """The limits on this process; a limit that does not apply is None.

    Attributes:
        installed: logical CPUs of the machine.
        affinity: CPUs that the scheduler may run this process on.
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


def cpu_budget(root: Path = Path("/")) -> CpuBudget:
    """The breakdown behind `usable_cpus()`; `root` holds the `proc` and `sys` to read.

    Raises:
        BackendError: EXECUTOR_BENCH_CPUS is set to something else than a positive number.
    """
    return CpuBudget(os.cpu_count() or 1, _affinity(), _quota(root), _override())


def _affinity() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return None


def _override() -> int | None:
    text = os.environ.get(OVERRIDE)
    if not text:
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise BackendError(f"{OVERRIDE} must be a whole number of CPUs >= 1, not {text!r}")


def _quota(root: Path) -> float | None:
    """Smallest quota along this process's groups, in either version of cgroups."""
    quotas = [*_quotas_v2(root), *_quotas_v1(root)]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """(controllers, path) of each hierarchy that this process is in; "" is version 2."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            yield fields[1], fields[2]


def _with_ancestors(mount: Path, group: str) -> Iterator[Path]:
    folder = mount / group.lstrip("/")
    yield folder
    while folder != mount and mount in folder.parents:
        folder = folder.parent
        yield folder


def _quotas_v2(root: Path) -> Iterator[float]:
    for controllers, group in _groups(root):
        if controllers == "":
            for folder in _with_ancestors(root / "sys/fs/cgroup", group):
                quota, _, period = _read(folder / "cpu.max").partition(" ")
                yield from _cpus(quota, period)


def _quotas_v1(root: Path) -> Iterator[float]:
    for controllers, group in _groups(root):
        if "cpu" in controllers.split(","):
            for mount in ("cpu", "cpu,cpuacct", "cpuacct,cpu"):
                for folder in _with_ancestors(root / "sys/fs/cgroup" / mount, group):
                    quota = _read(folder / "cpu.cfs_quota_us")
                    yield from _cpus(quota, _read(folder / "cpu.cfs_period_us"))


def _cpus(quota: str, period: str) -> Iterator[float]:
    """Quota over period; "max" and -1 mean that there is none."""
    quota, period = quota.strip(), period.strip()
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
