"""How quiet the machine was, judging by what else used its CPUs.

The limits below are conventions; each reason says which one was crossed and by how much. How far
runs of the same case lie apart is judged in `bench.analysis.steadiness`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.machine.counters import Interference
from executors.backends import SEQUENTIAL

CLEAN, NOISY, UNUSABLE = "clean", "noisy", "unusable"
LEVELS = (CLEAN, NOISY, UNUSABLE)

# The share from which something counts as noise, and that from which results are unusable.
WAITING = (0.15, 1.0)  # other processes that want a CPU before the run, per CPU
FOREIGN = (0.05, 0.5)  # of the usable CPUs, taken by other processes
STEAL = (0.01, 0.1)  # of the CPU time, taken by the hypervisor
THROTTLED = (0.01, 0.2)  # of the time, stopped by the cgroup's quota
PRESSURE = (0.1, 0.5)  # of the time of sequential runs in which something waited for a CPU

STOP_OTHERS = "Stop other programs and measure again."


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that makes results doubtful.

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

    @classmethod
    def of(cls, reasons: Sequence[Reason]) -> Verdict:
        """The verdict for reasons in any order."""
        return cls(tuple(sorted(reasons, key=lambda reason: -LEVELS.index(reason.level))))

    @property
    def level(self) -> str:
        return self.reasons[0].level if self.reasons else CLEAN

    @property
    def is_clean(self) -> bool:
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The level and the texts of the reasons."""
        return {"level": self.level, "reasons": [reason.text for reason in self.reasons]}

    def __str__(self) -> str:
        if self.is_clean:
            return "Clean: nothing else disturbed the measurements."
        advice = dict.fromkeys(reason.advice for reason in self.reasons)
        lead = {NOISY: "Noisy", UNUSABLE: "Unusable"}[self.level]
        texts = "; ".join(reason.text for reason in self.reasons)
        return f"{lead}: {texts}. {' '.join(advice)}"


def judge_machine(machine: Mapping[str, Any], interference: Sequence[Interference]) -> Verdict:
    """The verdict on what else used the CPUs, whatever the samples show.

    Args:
        machine: from `bench.machine.facts.describe_machine`, before the run.
        interference: during the run.
    """
    cpus = machine["cpus"]
    before = _before(machine["others_running"], cpus)
    return Verdict.of([*before, *_meanwhile(interference, cpus)])


def reason_above(
    what: str, value: float, limits: tuple[float, float], text: str, advice: str
) -> list[Reason]:
    """A reason if the value is above the first limit, else none."""
    if value <= limits[0]:
        return []
    return [Reason(what, UNUSABLE if value > limits[1] else NOISY, text, advice)]


def _share_taken(used: float, present: int, usable: int) -> float:
    """The share of the usable CPUs that other processes take, beyond those that are to spare."""
    return max(0.0, used - max(0, present - usable)) / usable


def _before(others: float | None, cpus: Mapping[str, int]) -> list[Reason]:
    if others is None:
        return []
    contested = _share_taken(others, cpus["installed"], cpus["usable"])
    text = f"on average, {others:.1f} other processes wanted a CPU before the run"
    return reason_above("load", contested, WAITING, text, STOP_OTHERS)


def _meanwhile(interference: Sequence[Interference], cpus: Mapping[str, int]) -> list[Reason]:
    wall_s = sum(pool.wall_s for pool in interference)
    if not wall_s:
        return []
    allowed = cpus["affinity"] or cpus["installed"]
    foreign = sum(pool.foreign_s for pool in interference) / wall_s
    steal = sum(pool.steal_s or 0.0 for pool in interference) / wall_s / allowed
    throttled = sum(pool.throttled_s or 0.0 for pool in interference) / wall_s / allowed
    sequential = [pool for pool in interference if pool.backend == SEQUENTIAL]
    stalled_s = sum(pool.stalled_s or 0.0 for pool in sequential)
    pressure = stalled_s / max(sum(pool.wall_s for pool in sequential), 1e-9)
    return [
        *reason_above(
            "foreign CPU",
            _share_taken(foreign, allowed, cpus["usable"]),
            FOREIGN,
            f"other processes used {foreign:.2f} of {allowed} CPUs",
            STOP_OTHERS,
        ),
        *reason_above(
            "steal",
            steal,
            STEAL,
            f"the hypervisor took {100 * steal:.0f} % of the CPU time",
            "Use a machine whose CPUs are not shared.",
        ),
        *reason_above(
            "throttling",
            throttled,
            THROTTLED,
            f"a CPU quota stopped this process for {100 * throttled:.0f} % of the CPU time",
            "Raise the quota of the container, or use fewer workers.",
        ),
        *reason_above(
            "pressure",
            pressure,
            PRESSURE,
            f"in sequential runs something waited for a CPU {100 * pressure:.0f} % of the time",
            STOP_OTHERS,
        ),
    ]
