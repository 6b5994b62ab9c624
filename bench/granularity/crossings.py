"""Judges METG: the shortest tasks with which a backend reaches a share of the machine's ceiling.

The minimum effective task granularity of Task Bench (Slaughter et al. 2020), against the measured
ceiling (`sweep.py`). The length of a task is the time it took in the loops of the ceiling; Task
Bench includes the scheduler's time, so its figure is this one over the level.

The break-even length is the one at which a backend takes as long as the sequential one: shorter
tasks are not worth running in parallel here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from bench.analysis.estimates import MIN_SAMPLES, Floats
from bench.results.case import BASELINE

LENGTHS_S = tuple(5e-6 * 2**power for power in range(11))  # 5 us to 5 ms
LEVELS = (0.5, 0.75, 0.9)
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Point:
    """One run of one length.

    Attributes:
        length_s: the length that the tasks should have.
        tasks: number of tasks per worker.
        ceiling_s: what independent processes took for the same tasks, just before.
        wall_s: what the backend took.
    """

    backend: str
    length_s: float
    tasks: int
    block: int
    ceiling_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Crossing:
    """A length of tasks with its 95 % interval (None: too few blocks).

    Attributes:
        length_s: infinite if even the longest tasks stay below the level, 0 if the shortest do not.
    """

    length_s: float
    low_s: float | None
    high_s: float | None

    @property
    def is_known(self) -> bool:
        """False without an interval, or if its ends do not agree on what is beyond the lengths.

        That is, if the upper end is infinite, or one of both is at an end of the lengths at which
        the length itself is not.
        """
        if self.low_s is None or self.high_s is None:
            return False
        is_beyond = self.length_s in (0.0, math.inf)
        return self.low_s == self.length_s == self.high_s if is_beyond else self.high_s < math.inf


@dataclass(frozen=True, slots=True)
class Metg:
    """The outcome of a sweep.

    Attributes:
        metg: by backend and share of the ceiling.
        break_even: by backend.
        curves: by backend, a tuple (length, efficiency, lowest, highest) per length.
        ceiling: joint speed of the independent processes over that of one.
    """

    kernel: str
    workers: int
    blocks: int
    metg: Mapping[str, Mapping[float, Crossing]]
    break_even: Mapping[str, Crossing]
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]]
    ceiling: float

    def is_known(self, backend: str) -> bool:
        """Whether there is a judgement on a backend: its figures are known and agree.

        A backend that reaches the highest level of a ceiling that is well above 1 is faster than
        sequential, whatever the sequential runs say; so if these deny it, something disturbed them.
        """
        break_even = self.break_even[backend]
        reached = [
            level * self.ceiling > 1 and self.metg[backend][level].length_s < math.inf
            for level in LEVELS
        ]
        return break_even.is_known and not (math.isinf(break_even.length_s) and any(reached))

    @property
    def lengths_s(self) -> list[float]:
        """The lengths of the tasks, as they were."""
        return [length_s for length_s, *_ in next(iter(self.curves.values()))]


def summarise(points: Sequence[Point], kernel: str, workers: int, ceiling: float) -> Metg:
    """METG at each level, and the break-even, of each backend."""
    names = sorted({point.backend for point in points} - {BASELINE})
    lengths = lengths_of(points)
    walls = {name: _grid(points, name, "wall_s") for name in [BASELINE, *names]}
    ceilings = {name: _grid(points, name, "ceiling_s") for name in names}
    return Metg(
        kernel,
        workers,
        len(walls[BASELINE]),
        {
            name: {
                level: _crossing(lengths, ceilings[name], walls[name], level) for level in LEVELS
            }
            for name in names
        },
        {name: _crossing(lengths, walls[BASELINE], walls[name], 1.0) for name in names},
        {name: _curve(lengths, ceilings[name], walls[name]) for name in names},
        ceiling,
    )


def lengths_of(points: Sequence[Point]) -> list[float]:
    """The length of a task in the loops of independent processes, for each of LENGTHS_S."""
    task_s: dict[float, list[float]] = {}
    for point in points:
        task_s.setdefault(point.length_s, []).append(point.ceiling_s / point.tasks)
    return [median(task_s[length_s]) for length_s in sorted(task_s)]


def _grid(points: Sequence[Point], backend: str, field: str) -> Floats:
    """Seconds of a backend: a row per block, a column per length."""
    own = {
        (point.block, point.length_s): float(getattr(point, field))
        for point in points
        if point.backend == backend
    }
    blocks = sorted({block for block, _ in own})
    return np.array([[own[block, length_s] for length_s in LENGTHS_S] for block in blocks])


def _crossing(lengths: Sequence[float], above: Floats, below: Floats, level: float) -> Crossing:
    """Where the ratio of the medians reaches a level, with an independent bootstrap of both."""
    length_s = cross(lengths, np.median(above, axis=0) / np.median(below, axis=0), level)
    if len(above) < MIN_SAMPLES:
        return Crossing(length_s, None, None)
    random = np.random.default_rng(0)
    curves = _resampled_medians(above, random) / _resampled_medians(below, random)
    crossed = [cross(lengths, curve, level) for curve in curves]
    low_s, high_s = np.quantile(crossed, [0.025, 0.975], method="nearest")
    return Crossing(length_s, float(low_s), float(high_s))


def _resampled_medians(grid: Floats, random: np.random.Generator) -> Floats:
    """Bootstrap medians: a row per resample, a column per length.

    The blocks of each length are drawn independently of those of the others.
    """
    blocks, lengths = grid.shape
    chosen = random.integers(0, blocks, (blocks, RESAMPLES, lengths))
    medians: Floats = np.median(grid[chosen, np.arange(lengths)], axis=0)
    return medians


def _curve(
    lengths: Sequence[float], ceilings: Floats, walls: Floats
) -> list[tuple[float, float, float, float]]:
    """For each length: the efficiency of the medians, and the lowest and highest of a block."""
    ratios = ceilings / walls
    middles = np.median(ceilings, axis=0) / np.median(walls, axis=0)
    bounds = ratios.min(axis=0).tolist(), ratios.max(axis=0).tolist()
    return list(zip(lengths, middles.tolist(), *bounds, strict=True))


def cross(lengths: Sequence[float], curve: Sequence[float] | Floats, level: float) -> float:
    """The length above which a curve over lengths stays at a level or higher.

    Between two lengths the curve is taken to be straight over their logarithms. Infinite if the
    last value is below the level, 0 if none is.
    """
    below = [index for index, value in enumerate(curve) if value < level]
    if not below:
        return 0.0
    last = below[-1]
    if last + 1 == len(curve):
        return float("inf")
    low, high = curve[last], curve[last + 1]
    part = (level - low) / (high - low)
    return float(lengths[last] * (lengths[last + 1] / lengths[last]) ** part)
