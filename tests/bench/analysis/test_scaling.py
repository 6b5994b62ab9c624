"""Curves through samples that were made from them."""

from __future__ import annotations

import numpy as np
import pytest

from bench.analysis.scaling import fit

COUNTS = (1, 2, 4, 8, 16)


def samples(curve: dict[int, float], noise: float = 0.01) -> dict[int, list[float]]:
    random = np.random.default_rng(3)
    return {
        count: [wall_s * float(random.lognormal(0, noise)) for _ in range(7)]
        for count, wall_s in curve.items()
    }


def test_amdahls_serial_fraction_is_found() -> None:
    curve = {count: 0.2 + 0.8 / count for count in COUNTS}
    fits = fit(samples(curve))
    assert fits is not None
    assert fits.serial.value == pytest.approx(0.2, abs=0.01)
    assert fits.serial.low < 0.2 < fits.serial.high
    assert fits.serial.high - fits.serial.low < 0.1


def test_the_parameters_of_the_usl_are_found() -> None:
    curve = {p: (1 + 0.05 * (p - 1) + 0.01 * p * (p - 1)) / p for p in COUNTS}
    fits = fit(samples(curve, noise=0.002))
    assert fits is not None
    assert fits.contention.value == pytest.approx(0.05, abs=0.02)
    assert fits.coherency.value == pytest.approx(0.01, abs=0.002)
    assert fits.coherency.low < 0.01 < fits.coherency.high


def test_no_parameter_is_negative() -> None:
    superlinear = fit(samples({1: 1.0, 2: 0.45, 4: 0.2, 8: 0.09}))
    assert superlinear is not None
    assert superlinear.serial.low >= 0
    assert superlinear.contention.low >= 0
    flat = fit(samples({1: 1.0, 2: 1.1, 4: 1.4}))
    assert flat is not None
    assert flat.serial.value == pytest.approx(1.0)


def test_few_points_have_no_curve() -> None:
    assert fit(samples({1: 1.0, 2: 0.5})) is None
    assert fit(samples({2: 1.0, 4: 0.5, 8: 0.3})) is None
    assert fit({count: [1.0] * 4 for count in COUNTS}) is None
