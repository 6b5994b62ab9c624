"""Durations, read and shown."""

from __future__ import annotations

import pytest

from bench.workloads.duration import (
    between,
    estimated,
    nominal,
    seconds,
    shown,
    significant,
    typed,
)


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
    [
        (0.2, "1 s"),
        (45.4, "45 s"),
        (125, "2 min 5 s"),
        (4200, "1 h 10 min"),
        (155_000, "43 h 3 min"),
        (1_000_000, "11 days 13 h"),
    ],
)
def test_estimates_are_in_whole_units(duration_s: float, wanted: str) -> None:
    assert estimated(duration_s) == wanted


@pytest.mark.parametrize(
    ("duration_s", "digits", "wanted"),
    [
        (1.2345, 3, "1.23 s"),
        (1.4, 3, "1.40 s"),
        (0.02, 3, "20.0 ms"),
        (0.0204, 3, "20.4 ms"),
        (0.982, 3, "982 ms"),
        (0.99996, 3, "1.00 s"),
        (99.94, 3, "99.9 s"),
        (125.0, 3, "2 min 5 s"),
        (123.4e-6, 3, "123 us"),
        (123.4e-6, 2, "120 us"),
        (5.12e-7, 3, "0.512 us"),
        (0.0, 3, "0 s"),
    ],
)
def test_durations_are_shown_with_all_their_digits_and_a_fitting_unit(
    duration_s: float, digits: int, wanted: str
) -> None:
    assert shown(duration_s, digits) == wanted


def test_a_range_has_its_unit_once_or_two_of_them() -> None:
    assert between(0.393, 0.518) == "393 to 518 ms"
    assert between(0.93, 1.4) == "930 ms to 1.40 s"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1.4, "1.40"),
        (20.0, "20.0"),
        (9.996, "10.0"),
        (1760.4, "1,760"),
        (0.1, "0.100"),
        (-2, "-2.00"),
    ],
)
def test_trailing_zeros_stay(value: float, wanted: str) -> None:
    assert significant(value) == wanted


@pytest.mark.parametrize("text", ["1.5s", "20ms", "500us", "0.5us"])
def test_what_is_typed_comes_back(text: str) -> None:
    length_s = seconds(text)
    assert length_s is not None
    assert typed(length_s) == text
    assert nominal(length_s).replace(" ", "") == text
