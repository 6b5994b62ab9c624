"""How quiet the machine was, and what that means for the figures.

Two things are looked at: what else wanted the CPUs (`counters.py`, over the time of each pool), and
how far runs of the same case lie apart. Every limit below is a convention; `judge` says which one
was crossed and by how much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.machine.counters import Window
from executors.backends import SEQUENTIAL, SIMULATED

if TYPE_CHECKING:
    from bench.results.store import Measurement, Results

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


def judge(results: Results) -> Verdict:
    """The verdict on a results file."""
    quiet = judge_machine(results.header["machine"], results.windows)
    return _verdict([*quiet.reasons, *_samples(results.measurements)])


def judge_machine(machine: Mapping[str, Any], windows: Sequence[Window]) -> Verdict:
    """The verdict on what else happened, whatever the samples say.

    Args:
        machine: as `bench.machine.facts.describe_machine` gives it, before.
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
