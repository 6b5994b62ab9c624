"""Two classic curves through measured speedups: Amdahl's law and the Universal Scalability Law.

They are captions. On real DAGs they miss what was measured by up to a third, because a graph's
critical path is neither a serial fraction nor a coherency cost; the pick never rests on them.

- Amdahl 1967: time on p workers = T1 (f + (1 - f) / p), f the serial fraction.
- Gunther 1993 (USL): speedup = p / (1 + s (p - 1) + k p (p - 1)), s contention, k coherency; its
  peak is at p = sqrt((1 - s) / k).

Fitted by least squares with parameters >= 0, USL in its linear form p / speedup. Intervals are 95 %
percentile bootstrap intervals over the samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RESAMPLES = 500
MIN_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """A parameter and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, slots=True)
class Fits:
    """Both curves through the same samples.

    Attributes:
        serial: Amdahl's serial fraction.
        contention, coherency: of the USL.
    """

    serial: Interval
    contention: Interval
    coherency: Interval


def fit(wall_s: Mapping[int, Sequence[float]]) -> Fits | None:
    """Fits wall times by number of workers, 1 among them; None if there are too few.

    Args:
        wall_s: at least three numbers of workers, with at least 5 samples each.
    """
    counts = sorted(wall_s)
    if len(counts) < 3 or counts[0] != 1 or min(map(len, wall_s.values())) < MIN_SAMPLES:
        return None
    workers = np.array(counts, float)
    random = np.random.default_rng(0)
    medians = [np.array([np.median(wall_s[count]) for count in counts])]
    for _ in range(RESAMPLES):
        chosen = [random.choice(wall_s[count], len(wall_s[count])) for count in counts]
        medians.append(np.array([np.median(each) for each in chosen]))
    found = np.array([_parameters(workers, each) for each in medians])
    lows, highs = np.percentile(found[1:], [2.5, 97.5], axis=0)
    return Fits(*(Interval(*map(float, each)) for each in zip(found[0], lows, highs, strict=True)))


def _parameters(workers: Floats, wall_s: Floats) -> tuple[float, float, float]:
    serial_s, parallel_s = _not_negative(np.stack([np.ones_like(workers), 1 / workers]), wall_s)
    stretch = workers * wall_s / wall_s[0] - 1  # p / speedup - 1
    terms = np.stack([workers - 1, workers * (workers - 1)])
    contention, coherency = _not_negative(terms, stretch)
    return serial_s / (serial_s + parallel_s), contention, coherency


def _not_negative(terms: Floats, wanted: Floats) -> tuple[float, float]:
    """Least squares of two terms, neither of whose factors is negative."""
    best, _, _, _ = np.linalg.lstsq(terms.T, wanted, rcond=None)
    if min(best) >= 0:
        return float(best[0]), float(best[1])
    alone = [max(0.0, float(term @ wanted / (term @ term))) for term in terms]
    left, right = (wanted - factor * term for factor, term in zip(alone, terms, strict=True))
    return (alone[0], 0.0) if left @ left <= right @ right else (0.0, alone[1])
