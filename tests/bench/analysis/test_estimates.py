"""Statistics against known truths."""

from __future__ import annotations

import numpy as np
import pytest

import bench.analysis.estimates
from bench.analysis.estimates import median_ratio_of_pairs, ratio_of_medians


def test_the_ratio_of_medians_and_its_interval_are_reproducible() -> None:
    above, below = [2.0, 2.1, 1.9, 2.0, 2.2], [1.0, 1.1, 0.9, 1.0, 1.0]
    first = ratio_of_medians(above, below)
    assert first == ratio_of_medians(above, below)
    assert first.value == 2.0
    assert first.low is not None
    assert first.high is not None
    assert first.low < 2.0 < first.high


def test_few_samples_get_no_interval() -> None:
    assert ratio_of_medians([1.0] * 4, [1.0] * 9).low is None
    assert not ratio_of_medians([1.0] * 4, [1.0] * 9).has_interval


@pytest.mark.parametrize("size", [5, 7, 10, 20])
def test_the_interval_covers_the_truth_as_often_as_it_says(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise of 3 % with a tail of 5 % slow samples; the truth is a ratio of 1.5."""
    monkeypatch.setattr(bench.analysis.estimates, "RESAMPLES", 1000)
    random = np.random.default_rng(size)

    def samples(middle: float) -> list[float]:
        noise = random.lognormal(0, 0.03, size)
        slow = np.where(random.random(size) < 0.05, 1.3, 1.0)
        return list(middle * noise * slow)

    trials = 2000
    covered = 0
    for _ in range(trials):
        estimate = ratio_of_medians(samples(1.5), samples(1.0))
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 1.5 <= estimate.high
    assert 0.92 <= covered / trials <= 0.98


@pytest.mark.parametrize("size", [5, 9, 20])
def test_pairs_cover_the_truth_though_half_of_them_were_slowed_down(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both of a pair by the same; medians of each alone say nothing then."""
    monkeypatch.setattr(bench.analysis.estimates, "RESAMPLES", 1000)
    random = np.random.default_rng(size)
    trials, covered, narrow = 2000, 0, 0
    for _ in range(trials):
        both = np.where(random.random(size) < 0.5, 1.7, 1.0)
        above = list(1.5 * both * random.lognormal(0, 0.03, size))
        below = list(both * random.lognormal(0, 0.03, size))
        estimate = median_ratio_of_pairs(above, below)
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 1.5 <= estimate.high
        narrow += estimate.precision < 0.1
    assert 0.92 <= covered / trials <= 0.98
    assert narrow / trials > 0.95
    assert median_ratio_of_pairs([2.0] * 4, [1.0] * 4).low is None
