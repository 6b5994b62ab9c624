"""Durations: read as people type them (500us, 20ms, 1h30m), and shown the same everywhere."""

from __future__ import annotations

import re

from executors.durations import between, estimated, shown, significant

__all__ = [
    "between",
    "estimated",
    "nominal",
    "seconds",
    "shown",
    "significant",
    "typed",
    "with_time_left",
]

SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
LONGEST_S = 1e9  # 30 years
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s|m|h)")


def seconds(text: str) -> float | None:
    """The seconds of a text like 2m30s; None if it is not a duration above 0 and below 30 years."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    total_s = sum(float(number) * SECONDS[unit] for number, unit in parts)
    return total_s if 0 < total_s <= LONGEST_S else None


def typed(duration_s: float) -> str:
    """As people type it, exactly: 1.5s, 20ms, 500us."""
    for unit in ("s", "ms"):
        if duration_s >= SECONDS[unit]:
            return f"{duration_s / SECONDS[unit]:g}{unit}"
    return f"{duration_s / SECONDS['us']:g}us"


def nominal(duration_s: float) -> str:
    """A length that was chosen rather than measured, exactly: 1.5 s, 20 ms, 500 us."""
    return re.sub(r"([a-z]+)$", r" \1", typed(duration_s))


def with_time_left(step: str, left_s: float) -> str:
    """A step of a measurement, and how long the rest takes from here."""
    return f"{step}, about {estimated(left_s)} left"
