"""Durations, read and shown."""

from __future__ import annotations

import pytest

from bench.workloads.duration import estimated, in_milliseconds, seconds, shown, typed


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("500us", 0.0005),
        ("20ms", 0.02),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("2m", 120),
        ("1h30m", 5400),
        ("2m30s", 150),
        ("", None),
        ("2", None),
        ("m", None),
        ("0s", None),
        ("-1s", None),
        ("2 m", None),
        ("2min", None),
    ],
)
def test_durations_are_read(text: str, wanted: float | None) -> None:
    assert seconds(text) == (wanted if wanted is None else pytest.approx(wanted))


@pytest.mark.parametrize(
    ("duration_s", "wanted"),
    [(0.2, "1 s"), (45.4, "45 s"), (125, "2 min 5 s"), (4200, "1 h 10 min")],
)
def test_estimates_are_in_whole_units(duration_s: float, wanted: str) -> None:
    assert estimated(duration_s) == wanted


@pytest.mark.parametrize(
    ("duration_s", "digits", "wanted"),
    [
        (1.2345, 3, "1.23 s"),
        (0.0204, 3, "20.4 ms"),
        (0.99996, 3, "1 s"),
        (123.4e-6, 3, "123 us"),
        (123.4e-6, 2, "120 us"),
        (0.0, 3, "0 us"),
    ],
)
def test_durations_are_shown_with_a_fitting_unit(
    duration_s: float, digits: int, wanted: str
) -> None:
    assert shown(duration_s, digits) == wanted


def test_columns_are_in_milliseconds() -> None:
    assert [in_milliseconds(duration_s) for duration_s in (1.5, 0.0412, 0.00012)] == [
        "1500.0 ms",
        "41.2 ms",
        "0.120 ms",
    ]


@pytest.mark.parametrize("text", ["1.5s", "20ms", "500us", "0.5us"])
def test_what_is_typed_comes_back(text: str) -> None:
    length_s = seconds(text)
    assert length_s is not None
    assert typed(length_s) == text
