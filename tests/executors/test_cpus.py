"""How many CPUs a process may use, under faked and real limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executors import BackendError, load_backend, usable_cpus
from executors.cpus import CpuBudget, cpu_budget, crowding


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/x/y\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense"}, None),
    ],
)
def test_the_smallest_quota_of_the_group_and_its_ancestors_counts(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    write(tmp_path, files)
    assert cpu_budget(tmp_path).quota == quota


@pytest.mark.parametrize(
    ("budget", "usable"),
    [
        (CpuBudget(64, None, None, None), 64),
        (CpuBudget(64, 8, None, None), 8),
        (CpuBudget(64, 8, 1.5, None), 2),
        (CpuBudget(64, 8, 0.2, None), 1),
        (CpuBudget(64, 8, 1.5, 16), 16),
    ],
)
def test_the_tightest_limit_wins_unless_it_is_overridden(budget: CpuBudget, usable: int) -> None:
    assert budget.usable == usable


def test_the_override_is_read_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_BENCH_CPUS", "3")
    assert usable_cpus() == 3
    assert load_backend("threads").workers == 3
    for wrong in ("0", "-1", "many"):
        monkeypatch.setenv("EXECUTOR_BENCH_CPUS", wrong)
        with pytest.raises(BackendError, match="EXECUTOR_BENCH_CPUS must be"):
            usable_cpus()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_is_respected() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpu_budget().affinity == 1
    finally:
        os.sched_setaffinity(0, before)


def test_crowding_is_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_BENCH_CPUS", "2")
    for load, expected in ((0.5, 1.0), (2.0, 1.0), (9.0, 4.5)):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert crowding() == expected
