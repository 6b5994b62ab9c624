"""How quiet the machine was, and what that means for the figures.

Two things are looked at: what else wanted the CPUs (counters of the system, over the time of each
pool), and how far runs of the same case lie apart. Every limit below is a convention; `judge` says
which one was crossed and by how much.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from executors.backends import BASELINE, SIMULATED
from executors.cpus import cgroups

if TYPE_CHECKING:
    from bench.results import Measurement, Results

CLEAN, NOISY, UNUSABLE = "clean", "noisy", "unusable"
LEVELS = (CLEAN, NOISY, UNUSABLE)

# From which part on something is noise, and from which part on the figures are unusable.
WAITING = (0.15, 1.0)  # other processes that want a CPU before the run, a CPU
FOREIGN = (0.05, 0.5)  # of the CPUs that may be used, taken by other processes
STEAL = (0.01, 0.1)  # of the CPU time, taken by the hypervisor
THROTTLED = (0.01, 0.2)  # of the time, stopped by the cgroup's quota
PRESSURE = (0.1, 0.5)  # of the time of sequential runs, something waited for a CPU
SPREAD = (0.1, 0.3)  # between the quartiles of a case, over its median
DRIFT = (0.3, 1.0)  # of the whole machine's speed, between blocks
CASES = 0.25  # part of the cases that may spread more
MIN_BLOCKS = 5  # fewer have no quartiles worth the name

LOOK_S = 0.5
LOOK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class Window:
    """What else happened while one pool was measured; None: this system does not tell.

    Attributes:
        backend, workers, block: of the pool.
        wall_s: from before its start to after its end.
        foreign_s: CPU time that other processes used, of the CPUs that this one may run on.
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


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that makes figures doubtful.

    Attributes:
        what: load, foreign CPU, steal, throttling, pressure, unstable samples, drift, few blocks.
        level: noisy or unusable.
        text: a clause with the figure.
        advice: what to do about it.
    """

    what: str
    level: str
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Clean, noisy or unusable, with the reasons, the worst first."""

    reasons: tuple[Reason, ...] = ()

    @property
    def level(self) -> str:
        return self.reasons[0].level if self.reasons else CLEAN

    @property
    def is_clean(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        if self.is_clean:
            return "Clean: nothing else disturbed the measurements."
        advice = dict.fromkeys(reason.advice for reason in self.reasons)
        lead = {NOISY: "Noisy", UNUSABLE: "Unusable"}[self.level]
        texts = "; ".join(reason.text for reason in self.reasons)
        return f"{lead}: {texts}. {' '.join(advice)}"


# -- counting -----------------------------------------------------------------------------------


class Counters:
    """What the system has counted until now, and this process with its children."""

    def __init__(self, root: Path = Path("/")) -> None:
        import psutil

        self.at_s = time.monotonic()
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        cpus = psutil.cpu_times(percpu=True)  # of those online, which may lack some numbers
        if mine is not None and len(mine) < len(cpus):
            cpus = [times for cpu, times in enumerate(cpus) if cpu in mine]
        idle_s = sum(times.idle + getattr(times, "iowait", 0.0) for times in cpus)
        steals = [times.steal for times in cpus if hasattr(times, "steal")]
        self.steal_s = sum(steals) if steals else None
        # What is not idle: `guest` is part of `user`.
        self.busy_s = len(cpus) * self.at_s - idle_s - (self.steal_s or 0.0)
        self.own_s = _own_s()
        self.throttled_s = _throttled_s(root)
        self.stalled_s = _stalled_s(root)

    def since(self, before: Counters, backend: str, workers: int, block: int) -> Window:
        """What was counted between two moments."""
        own_s = self.own_s - before.own_s
        return Window(
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
        )


def _own_s() -> float:
    """CPU time of this process and of all its children, those that have ended included."""
    import psutil

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own_s = sum(each.ru_utime + each.ru_stime for each in used)
    for child in psutil.Process().children(recursive=True):
        try:
            own_s += sum(child.cpu_times()[:4])  # user and system, its own and its children's
        except psutil.Error:
            continue
    return own_s


def _throttled_s(root: Path) -> dict[Path, float]:
    """How long the quotas of this process's group and of its ancestors have stopped them.

    Added up over the CPUs.
    """
    found = {}
    for folder in cgroups(root):
        for name, unit_s in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)):
            value = _field(folder / "cpu.stat", name)
            if value is not None:
                found[folder] = value * unit_s
    return found


def _stalled_s(root: Path) -> float | None:
    total = _field(root / "proc/pressure/cpu", "some", "total=")
    return None if total is None else total * 1e-6


def _field(path: Path, name: str, label: str = "") -> float | None:
    """The number behind a name, or in such a line behind a label."""
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


def others_running(seconds: float = LOOK_S, root: Path = Path("/")) -> float | None:
    """How many other processes want a CPU, on average over a moment; blocks that long.

    Unlike the load average, it does not remember what has ended. None where there is no
    /proc/stat.
    """
    seen = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        running = _field(root / "proc/stat", "procs_running")
        if running is None:
            return None
        seen.append(running - 1)  # without this process
        time.sleep(LOOK_EVERY_S)
    return sum(seen) / len(seen)


# -- judging ------------------------------------------------------------------------------------


def judge(results: Results) -> Verdict:
    """The verdict on a results file."""
    quiet = judge_machine(results.header["machine"], results.windows)
    return _verdict([*quiet.reasons, *_samples(results.measurements)])


def judge_machine(machine: Mapping[str, Any], windows: Sequence[Window]) -> Verdict:
    """The verdict on what else happened, whatever the samples say.

    Args:
        machine: as `bench.machine.describe_machine` gives it, before.
    """
    cpus = machine["cpus"]
    return _verdict([*_before(machine["others_running"], cpus), *_meanwhile(windows, cpus)])


def _verdict(reasons: Sequence[Reason]) -> Verdict:
    return Verdict(tuple(sorted(reasons, key=lambda reason: -LEVELS.index(reason.level))))


def _reason(
    what: str, value: float, limits: tuple[float, float], text: str, advice: str
) -> list[Reason]:
    if value <= limits[0]:
        return []
    return [Reason(what, UNUSABLE if value > limits[1] else NOISY, text, advice)]


STOP_OTHERS = "Stop what else is running and measure again."


def _taken(used: float, there: int, usable: int) -> float:
    """The part of the usable CPUs that others take, beyond those that are to spare."""
    return max(0.0, used - max(0, there - usable)) / usable


def _before(others: float | None, cpus: dict[str, int]) -> list[Reason]:
    if others is None:
        return []
    usable = cpus["usable"]
    contested = _taken(others, cpus["installed"], usable)
    text = f"{others:.1f} other processes wanted a CPU before the run"
    return _reason("load", contested, WAITING, text, STOP_OTHERS)


def _meanwhile(windows: Sequence[Window], cpus: dict[str, int]) -> list[Reason]:
    wall_s = sum(window.wall_s for window in windows)
    if not wall_s:
        return []
    usable = cpus["usable"]
    mine = cpus["affinity"] or cpus["installed"]
    foreign = sum(window.foreign_s for window in windows) / wall_s
    steal = sum(window.steal_s or 0.0 for window in windows) / wall_s / mine
    throttled = sum(window.throttled_s or 0.0 for window in windows) / wall_s / mine
    alone = [window for window in windows if window.backend == BASELINE]
    stalled = sum(window.stalled_s or 0.0 for window in alone)
    pressure = stalled / max(sum(window.wall_s for window in alone), 1e-9)
    return [
        *_reason(
            "foreign CPU",
            _taken(foreign, mine, usable),
            FOREIGN,
            f"other processes used {foreign:.2f} of {mine} CPUs",
            STOP_OTHERS,
        ),
        *_reason(
            "steal",
            steal,
            STEAL,
            f"the hypervisor took {100 * steal:.0f} % of the CPU time",
            "Use a machine whose CPUs are not shared.",
        ),
        *_reason(
            "throttling",
            throttled,
            THROTTLED,
            f"a CPU quota stopped this process for {100 * throttled:.0f} % of the CPU time",
            "Raise the quota of the container, or use fewer workers.",
        ),
        *_reason(
            "pressure",
            pressure,
            PRESSURE,
            f"in sequential runs something waited for a CPU {100 * pressure:.0f} % of the time",
            STOP_OTHERS,
        ),
    ]


def _samples(measurements: Sequence[Measurement]) -> list[Reason]:
    """How far runs of a case lie apart, once what slowed down a whole block is taken out."""
    by_case: dict[object, dict[int, float]] = {}
    for made in measurements:
        if made.backend != SIMULATED:  # it repeats what the sequential run has shown
            by_case.setdefault(made.case, {})[made.block] = made.wall_s
    by_case = {case: walls for case, walls in by_case.items() if len(walls) >= MIN_BLOCKS}
    if not by_case:
        text = f"fewer than {MIN_BLOCKS} blocks do not show how stable the runs are"
        return [Reason("few blocks", NOISY, text, "Measure more blocks.")]
    parts = {case: _in_parts(walls) for case, walls in by_case.items()}
    blocks = {block for walls in by_case.values() for block in walls}
    pace = {block: _pace(parts.values(), block) for block in blocks}
    spreads = {}
    for case, part in parts.items():
        others = [other for each, other in parts.items() if each != case]
        left = [part[block] - _pace(others, block) for block in part]
        low, high = np.percentile(left, [25, 75])
        spreads[case] = float(np.expm1(high - low))
    worst = max(spreads, key=lambda case: spreads[case])
    usual = float(np.quantile(list(spreads.values()), 1 - CASES))
    low, high = np.percentile(list(pace.values()), [25, 75])
    drift = float(np.expm1(high - low))
    return [
        *_reason(
            "unstable samples",
            usual,
            SPREAD,
            f"runs of the same case differ by {100 * usual:.0f} % and more in a quarter of the"
            f" cases, most in {worst}",
            "Measure more blocks, or longer tasks.",
        ),
        *_reason(
            "drift",
            drift,
            DRIFT,
            f"the machine's speed changed by {100 * drift:.0f} % between blocks",
            "Measure more blocks, at a quieter time.",
        ),
    ]


def _pace(parts: Iterable[dict[int, float]], block: int) -> float:
    """How much slower than usual these cases were in a block, as a logarithm."""
    found = [part[block] for part in parts if block in part]
    return float(np.median(found)) if found else 0.0


def _in_parts(walls: dict[int, float]) -> dict[int, float]:
    """Logarithms of the wall times over their median, by block."""
    median_s = float(np.median(list(walls.values())))
    return {block: float(np.log(wall_s / median_s)) for block, wall_s in walls.items()}
