"""Lengths of time, read and shown."""

from __future__ import annotations

import pytest

from bench.workloads.duration import seconds, shown


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
def test_lengths_of_time_are_read(text: str, wanted: float | None) -> None:
    assert seconds(text) == (wanted if wanted is None else pytest.approx(wanted))


@pytest.mark.parametrize(
    ("duration_s", "wanted"),
    [(0.2, "1 s"), (45.4, "45 s"), (125, "2 min 5 s"), (4200, "1 h 10 min")],
)
def test_lengths_of_time_are_shown(duration_s: float, wanted: str) -> None:
    assert shown(duration_s) == wanted
