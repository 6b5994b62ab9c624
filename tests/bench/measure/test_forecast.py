"""How long the rest of a run takes."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from bench.measure.forecast import Forecast

MODEL: dict[Hashable, float] = {"a": 1.0, "b": 2.0, "c": 1.0}


def test_before_anything_is_measured_the_model_counts() -> None:
    forecast = Forecast(MODEL, 3)
    assert forecast.block_s == 4.0
    assert forecast.left_s(0, set()) == 12.0


def test_what_was_measured_corrects_what_was_not() -> None:
    forecast = Forecast(MODEL, 3)
    forecast.add("a", 3.0)
    assert forecast.part_s("b") == 6.0
    assert forecast.left_s(0, {"a"}) == 9.0 + 2 * 12.0


def test_after_a_block_only_measured_times_count() -> None:
    forecast = Forecast(MODEL, 3)
    for part, seconds in (("a", 2.0), ("b", 0.5), ("c", 0.5)):
        forecast.add(part, seconds)
    assert forecast.left_s(1, set()) == pytest.approx(6.0)
    assert forecast.left_s(1, {"a"}, spent_s=0.4) == pytest.approx(0.6 + 3.0)
    assert forecast.left_s(2, {"a", "b"}, spent_s=9.0) == 0.0


def test_a_resumed_run_knows_what_it_measured_before() -> None:
    forecast = Forecast(MODEL, 5, {"a": [2.0, 9.0, 2.0], "b": [4.0, 4.0, 4.0], "c": [2.0] * 3})
    assert forecast.block_s == 8.0
    assert forecast.left_s(3, set()) == 16.0


def test_parts_may_be_in_the_first_blocks_only() -> None:
    forecast = Forecast(MODEL, 3, fewer={"b": 1})
    assert forecast.left_s(0, set()) == 4.0 + 2 * 2.0
    assert forecast.left_s(0, {"b"}) == 2.0 + 2 * 2.0
    assert forecast.left_s(1, set()) == 2 * 2.0
    assert forecast.left_s(3, set()) == 0.0
