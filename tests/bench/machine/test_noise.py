"""Verdicts from counters with a known truth, and from this machine with real disturbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.steadiness import judge
from bench.machine.counters import Interference, SystemCounters, others_running
from bench.machine.noise import Verdict, judge_machine
from bench.results.store import read_results
from bench.workloads.kernels import Work
from executors import Graph, Task, load_backend, run, usable_cpus
from tests.bench.results.written import TYPICAL, write


def verdict(
    folder: Path, interference: Sequence[Interference] = (), noise: float = 0.01, **machine: Any
) -> Verdict:
    path = write(folder, TYPICAL, noise=noise, others=interference)
    text = path.read_text()
    for name, value in machine.items():
        text = text.replace(f'"{name}": 0.0', f'"{name}": {value}')
    path.write_text(text)
    return judge(read_results(path))


def during(backend: str = "threads", **seconds: float) -> Interference:
    usual = {"foreign_s": 0.0, "steal_s": 0.0, "throttled_s": 0.0, "stalled_s": 0.0}
    return Interference(backend, 2, 0, 10.0, **{**usual, **seconds})


def test_a_quiet_machine_is_clean(tmp_path: Path) -> None:
    judged = verdict(tmp_path, [during(), during("sequential", foreign_s=-0.1)])
    assert judged.is_clean
    assert judged.level == "clean"
    assert str(judged) == "Clean: nothing else disturbed the measurements."


@pytest.mark.parametrize(
    ("interference", "level", "what", "says"),
    [
        ([during(foreign_s=2.0)], "noisy", "foreign CPU", "used 0.20 of 2 CPUs"),
        ([during(foreign_s=12.0)], "unusable", "foreign CPU", "used 1.20 of 2 CPUs"),
        ([during(steal_s=1.0)], "noisy", "steal", "took 5 % of the CPU time"),
        ([during(throttled_s=6.0)], "unusable", "throttling", "for 30 % of the CPU time"),
        ([during("sequential", stalled_s=2.0)], "noisy", "pressure", "20 % of the time"),
    ],
)
def test_what_disturbs_is_named_with_its_size(
    tmp_path: Path, interference: list[Interference], level: str, what: str, says: str
) -> None:
    judged = verdict(tmp_path, interference)
    assert (judged.level, [reason.what for reason in judged.reasons]) == (level, [what])
    assert says in str(judged)
    assert judged.reasons[0].advice in str(judged)


def test_what_a_pool_does_to_itself_is_no_pressure(tmp_path: Path) -> None:
    assert verdict(tmp_path, [during("threads", stalled_s=9.0), during("sequential")]).is_clean


def test_others_that_find_free_cpus_do_not_disturb(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, others=[during(foreign_s=20.0)])
    text = path.read_text().replace('"affinity": 2', '"affinity": 8')
    path.write_text(text.replace('"installed": 2', '"installed": 8'))
    assert judge(read_results(path)).is_clean


def test_processes_that_ran_before_are_a_reason(tmp_path: Path) -> None:
    assert verdict(tmp_path, others_running=0.2).is_clean
    judged = verdict(tmp_path / "busy", others_running=2.0)
    assert judged.reasons[0].what == "load"
    assert "2.0 other processes wanted a CPU before the run" in str(judged)


def test_unstable_samples_are_a_reason_and_the_worst_case_is_named(tmp_path: Path) -> None:
    judged = verdict(tmp_path, noise=0.25)
    assert [reason.what for reason in judged.reasons] == ["unstable samples"]
    assert "most in fan-in" in str(judged) or "most in chain" in str(judged)
    assert "Measure more blocks, or longer tasks." in str(judged)
    assert verdict(tmp_path / "wild", noise=0.6).level == "unusable"


def test_a_machine_that_slows_down_as_a_whole_drifts(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, noise=0.01)
    results = read_results(path)
    slowed = [
        type(run)(**{**asdict_of(run), "wall_s": run.wall_s * (1 + run.block / 4)})
        for run in results.measurements
    ]
    judged = judge(type(results)(results.header, tuple(slowed)))
    assert [reason.what for reason in judged.reasons] == ["drift"]


def asdict_of(run: Any) -> dict[str, Any]:
    return {name: getattr(run, name) for name in type(run).__dataclass_fields__}


def test_few_blocks_are_not_called_clean(tmp_path: Path) -> None:
    judged = judge(read_results(write(tmp_path, TYPICAL, blocks=3)))
    assert [reason.what for reason in judged.reasons] == ["few blocks"]


# -- real counters ------------------------------------------------------------------------------


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


def test_an_override_above_what_is_there_is_no_noise() -> None:
    cpus = {"installed": 2, "affinity": 2, "quota": None, "override": 8, "usable": 8}
    window = Interference("sequential", 1, 0, 10.0, 0.1, 0.0, 0.0, 0.0)
    assert judge_machine({"cpus": cpus, "others_running": 0.0}, [window]).is_clean
    busy = Interference("sequential", 1, 0, 10.0, 15.0, 0.0, 0.0, 0.0)
    assert not judge_machine({"cpus": cpus, "others_running": 0.0}, [busy]).is_clean


def test_a_case_alone_cannot_hide_its_own_spread(tmp_path: Path) -> None:
    alone = {("fan-in", "noop", "sequential", 1): 1.0}
    judged = judge(read_results(write(tmp_path, alone, noise=0.3)))
    assert "unstable samples" in {reason.what for reason in judged.reasons}


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
