"""The system's counters, with real neighbours and faked groups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.machine.counters import SystemCounters, others_running
from bench.workloads.kernels import Work
from executors import Graph, Task, load_backend, run, usable_cpus


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Of somebody else: whoever started them has ended, so they are no children of this process."""
    busy = "import time\nwhile time.monotonic() < %f: pass" % (time.monotonic() + 100)
    start = (
        "import subprocess, sys\n"
        "nowhere = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}\n"
        f"for _ in range({count}):\n"
        f"    print(subprocess.Popen([sys.executable, '-c', {busy!r}], **nowhere).pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    try:
        yield
    finally:
        for pid in map(int, done.stdout.split()):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
def test_two_busy_processes_are_seen_before_and_meanwhile() -> None:
    before = SystemCounters()
    with busy_processes(2):
        time.sleep(0.3)
        running = others_running(0.5)
        time.sleep(0.7)
        meanwhile = SystemCounters().since(before, "threads", 1, 0)
    assert running is not None
    assert running > 1.0
    assert meanwhile.foreign_s > 0.3 * min(2, usable_cpus())


def test_what_this_process_uses_itself_is_not_foreign() -> None:
    before = SystemCounters()
    end_s = time.process_time() + 0.3
    while time.process_time() < end_s:
        pass
    subprocess.run(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True
    )
    after = SystemCounters()
    used_s = after.own_s - before.own_s
    assert used_s > 0.7
    busy_s = after.busy_s - before.busy_s
    assert after.since(before, "threads", 1, 0).foreign_s == pytest.approx(busy_s - used_s)


def test_throttling_is_read_from_either_version_of_cgroups(tmp_path: Path) -> None:
    for name, group, stat in (
        ("one", "4:cpu:/x\n", ("cpu/x", "throttled_time 2500000000\n")),
        ("two", "0::/a/b\n", ("a", "nr_throttled 3\nthrottled_usec 1500000\n")),
    ):
        root = tmp_path / name
        for path, text in (
            ("proc/self/cgroup", group),
            (f"sys/fs/cgroup/{stat[0]}/cpu.stat", stat[1]),
            ("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7000000\n"),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    assert list(SystemCounters(root=tmp_path / "one").throttled_s.values()) == [2.5]
    assert list(SystemCounters(root=tmp_path / "two").throttled_s.values()) == [1.5]
    assert SystemCounters(root=tmp_path / "two").stalled_s == 7.0
    assert (
        SystemCounters(root=tmp_path).since(SystemCounters(root=tmp_path), "", 1, 0).throttled_s
        is None
    )


def test_what_throttled_an_ancestor_before_does_not_hide_what_throttles_now(
    tmp_path: Path,
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    stats = {name: tmp_path / "sys/fs/cgroup" / name / "cpu.stat" for name in ("a", "a/b")}
    for path in reversed(stats.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
    stats["a"].write_text("throttled_usec 900000000\n")
    stats["a/b"].write_text("throttled_usec 0\n")
    before = SystemCounters(root=tmp_path)
    stats["a/b"].write_text("throttled_usec 3000000\n")
    assert SystemCounters(root=tmp_path).since(before, "", 1, 0).throttled_s == 3.0


def test_others_running_is_not_known_without_proc(tmp_path: Path) -> None:
    assert others_running(0.01, tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_only_the_cpus_of_this_process_count() -> None:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        before = SystemCounters()
        time.sleep(0.2)
        after = SystemCounters()
        wall_s = after.at_s - before.at_s
        assert after.busy_s - before.busy_s < wall_s + 0.05  # of one CPU, whatever others do
    finally:
        os.sched_setaffinity(0, mine)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
def test_workers_that_are_still_up_are_not_foreign() -> None:
    before = SystemCounters()
    with load_backend("processes", 1) as pool:
        graph = Graph([Task("busy", Work("native-cpu", 400_000))])
        run(graph, pool, keep="none").raise_for_failures()
        after = SystemCounters()
    assert after.own_s - before.own_s > 0.05
