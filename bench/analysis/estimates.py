"""Figures with their intervals: what medians, and ratios of medians, are worth.

A speedup is the median wall time of the baseline over that of the case. Its 95 % interval is an
independent percentile bootstrap of that ratio (Efron and Tibshirani 1993, chapter 13), which
covered 95 to 98 % of simulated truths from 5 samples on. Fewer samples get no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
CONFIDENCE = 0.95
MIN_SAMPLES = 5
WORTH = 0.05  # a difference of less than this is none

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; None where there are too few samples for one."""

    value: float
    low: float | None
    high: float | None

    @property
    def has_interval(self) -> bool:
        return self.low is not None

    @property
    def precision(self) -> float:
        """Half the width of the interval, in parts of the figure; without one it is infinite."""
        if self.low is None or self.high is None:
            return float("inf")
        return (self.high - self.low) / 2 / self.value


def ratio_of_medians(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """median(above) / median(below) with its interval; the same input gives the same output."""
    if above is below:
        return Estimate(1.0, 1.0, 1.0)
    return ratio([above], [below])


def median_ratio_of_pairs(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """The median of above / below, pair by pair, with its interval.

    For runs that were made in pairs: what slows down both of a pair is left out. From 5 pairs the
    interval is their range, which covers the true median in 94 % of the cases.
    """
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    if len(ratios) < MIN_SAMPLES:
        return Estimate(median(ratios), None, None)
    return Estimate(median(ratios), *_interval(_medians(ratios, np.random.default_rng(0))))


def ratio(
    above: Sequence[Sequence[float]], below: Sequence[Sequence[float]], factor: float = 1.0
) -> Estimate:
    """The product of the medians above over that of those below, times a factor."""
    random = np.random.default_rng(0)
    value, resampled = float(factor), np.full(RESAMPLES, float(factor))
    for samples in above:
        value *= median(samples)
        resampled *= _medians(samples, random)
    for samples in below:
        value /= median(samples)
        resampled /= _medians(samples, random)
    if min(map(len, (*above, *below))) < MIN_SAMPLES:
        return Estimate(value, None, None)
    return Estimate(value, *_interval(resampled))


def _interval(values: Floats) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _medians(samples: Sequence[float], random: np.random.Generator) -> Floats:
    chosen = random.choice(np.asarray(samples, float), (RESAMPLES, len(samples)))
    medians: Floats = np.median(chosen, axis=1)
    return medians
