"""How fast tasks run that share cores and an interpreter lock: the model behind `simulated`.

A fluid model: a task is a mixture of waiting, of needing a core, and of needing a core and the lock
(GIL). While cores or lock are contested, that part of every task is stretched until together the
tasks use exactly the capacity (processor sharing; a fair kernel approaches it over times longer
than its time slices).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from executors.errors import BackendError

TOLERANCE = 1e-9
MOST_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Demand:
    """What one task needs.

    Attributes:
        seconds: its length when it runs alone on the machine.
        cpu: the share of that time, 0 to 1, in which it keeps a core busy; otherwise it waits.
        gil: the share in which it holds the interpreter lock, at most `cpu`.

    Raises:
        BackendError: a negative time, or shares out of range.
    """

    seconds: float
    cpu: float = 1.0
    gil: float = 0.0

    def __post_init__(self) -> None:
        if not (self.seconds >= 0 and 0 <= self.gil <= self.cpu <= 1):
            raise BackendError(f"{self}: seconds must be >= 0, and 0 <= gil <= cpu <= 1")


@dataclass(frozen=True, slots=True)
class Machine:
    """The capacity that tasks share.

    Attributes:
        cores: the joint speed of 1, 2, ... busy cores, in cores: (1.0, 1.9) for two that slow each
            other down by 5 %. More tasks than entries share the last value.
        gil: likewise the joint speed of 1, 2, ... threads that want the lock: (1.0, 0.95) if
            handing it over takes 5 %. Empty if every worker has a lock of its own.
    """

    cores: tuple[float, ...]
    gil: tuple[float, ...] = ()

    @classmethod
    def ideal(cls, cores: int) -> Machine:
        """Cores that do not slow each other down."""
        return cls(tuple(float(count) for count in range(1, cores + 1)))


Parts = tuple[float, float]  # `cpu` and `gil` of a demand


def stretches(machine: Machine, kinds: Sequence[Parts], counts: Sequence[int]) -> list[float]:
    """How many times as long each kind of task takes than it would alone.

    Args:
        kinds: distinct kinds of tasks.
        counts: for each kind, the number of tasks that run.
    """
    crowd = [
        (count, cpu, gil if machine.gil else 0.0)
        for (cpu, gil), count in zip(kinds, counts, strict=True)
    ]
    holders = sum(count * gil for count, _, gil in crowd)  # of the lock, if it were not exclusive
    others = sum(count * (cpu - gil) for count, cpu, gil in crowd)
    cores = _speed(machine.cores, others + min(holders, 1.0))
    lock = _speed(machine.gil, max(1.0, holders))  # a lone holder has all of it
    on_core = with_lock = 1.0  # stretch of the parts that need a core, or core and lock
    for _ in range(MOST_ROUNDS):
        before = on_core, with_lock
        held = [
            (count * gil * on_core, 1 - cpu + (cpu - gil) * on_core, gil)
            for count, cpu, gil in crowd
        ]
        with_lock = _stretch(lock, held, on_core)
        busy = [(count * cpu, 1 - cpu + gil * with_lock, cpu - gil) for count, cpu, gil in crowd]
        on_core = _stretch(cores, busy, 1.0)
        if abs(on_core - before[0]) + abs(with_lock - before[1]) < TOLERANCE:
            break
    return [
        1 - cpu + (cpu - gil) * on_core + gil * max(with_lock, on_core) for _, cpu, gil in crowd
    ]


def _stretch(capacity: float, terms: Sequence[tuple[float, float, float]], least: float) -> float:
    """The smallest s >= least at which the use, the sum of a / (b + c s), is within the capacity.

    Newton's method: the use is convex and falling, so steps from the left never overshoot.
    """
    s = least
    while True:
        parts = [(a, b + c * s, c) for a, b, c in terms if a]
        excess = sum(a / time for a, time, _ in parts) - capacity
        slope = sum(a * c / time**2 for a, time, c in parts)
        if excess <= TOLERANCE * capacity or not slope:
            return s
        s += excess / slope


def _speed(speeds: tuple[float, ...], wanted: float) -> float:
    """The joint speed of `wanted` cores or threads, which need not be a whole number."""
    below = int(wanted)
    if below >= len(speeds):
        return speeds[-1] if speeds else wanted
    low = speeds[below - 1] if below else 0.0
    return low + (speeds[below] - low) * (wanted - below)
