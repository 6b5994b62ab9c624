"""Two classic curves through measured speedups: Amdahl's law and the Universal Scalability Law.

They serve captions only. On real DAGs they miss the measurements by up to a third, because the
critical path of a graph is neither a serial fraction nor a coherency cost; no pick depends on them.

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

from bench.analysis.estimates import MIN_SAMPLES, Floats, row_medians

RESAMPLES = 500
MIN_COUNTS = 3  # numbers of workers


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
        contention, coherency: the parameters of the USL.
    """

    serial: Interval
    contention: Interval
    coherency: Interval


def fit(wall_s: Mapping[int, Sequence[float]]) -> Fits | None:
    """Fits wall times by number of workers, including 1; None if there are too few.

    Args:
        wall_s: at least three numbers of workers, with at least 5 samples each.
    """
    counts = sorted(wall_s)
    if len(counts) < MIN_COUNTS or counts[0] != 1 or min(map(len, wall_s.values())) < MIN_SAMPLES:
        return None
    samples = [np.asarray(wall_s[count], float) for count in counts]
    resampled = _resampled_medians(samples)
    medians = np.vstack([[np.median(times) for times in samples], resampled])
    parameters = _parameters(np.array(counts, float), medians)
    lows, highs = np.percentile(parameters[1:], [2.5, 97.5], axis=0)
    columns = zip(parameters[0], lows, highs, strict=True)
    return Fits(*(Interval(*map(float, column)) for column in columns))


def _resampled_medians(samples: Sequence[Floats]) -> Floats:
    """Bootstrap medians: a row per resample, a column per number of workers."""
    random = np.random.default_rng(0)
    chosen = [
        [random.integers(0, len(times), len(times)) for times in samples] for _ in range(RESAMPLES)
    ]
    columns = zip(samples, zip(*chosen, strict=True), strict=True)
    medians = [row_medians(times[np.stack(indices)]) for times, indices in columns]
    return np.stack(medians, axis=1)


def _parameters(workers: Floats, wall_s: Floats) -> Floats:
    """Serial fraction, contention and coherency for each row of wall times."""
    serial_s, parallel_s = _not_negative(np.ones_like(workers), 1 / workers, wall_s)
    excess = workers * wall_s / wall_s[:, :1] - 1  # p / speedup - 1
    contention, coherency = _not_negative(workers - 1, workers * (workers - 1), excess)
    return np.stack([serial_s / (serial_s + parallel_s), contention, coherency], axis=1)


def _not_negative(one: Floats, two: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Least squares of two terms with factors >= 0, for each row (Lawson and Hanson 1974).

    If the unconstrained solution has a negative factor, one of the factors is 0.
    """
    first, second = np.linalg.lstsq(np.stack([one, two], axis=1), wanted.T, rcond=None)[0]
    only_one = np.maximum(0.0, wanted @ one / (one @ one))
    only_two = np.maximum(0.0, wanted @ two / (two @ two))
    error_one = ((wanted - np.outer(only_one, one)) ** 2).sum(axis=1)
    error_two = ((wanted - np.outer(only_two, two)) ** 2).sum(axis=1)
    is_inside = np.minimum(first, second) >= 0
    takes_one = ~is_inside & (error_one <= error_two)
    takes_two = ~is_inside & ~takes_one
    return (
        np.where(is_inside, first, np.where(takes_two, 0.0, only_one)),
        np.where(is_inside, second, np.where(takes_one, 0.0, only_two)),
    )
