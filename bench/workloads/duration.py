"""Durations: read as people type them (500us, 20ms, 1h30m), and shown the same everywhere."""

from __future__ import annotations

import re

SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
LONGEST_S = 1e9  # 30 years
LONG_S = 99.95  # from here on in minutes and hours
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


def shown(duration_s: float, digits: int = 3) -> str:
    """A measured time with three digits and a fitting unit: 1.40 s, 20.0 ms, 512 us, 2 min 5 s."""
    if not duration_s:
        return "0 s"
    if duration_s >= LONG_S:
        return estimated(duration_s)
    unit = next((unit for unit in ("s", "ms") if duration_s >= 0.9995 * SECONDS[unit]), "us")
    return f"{significant(duration_s / SECONDS[unit], digits)} {unit}"


def between(low_s: float, high_s: float) -> str:
    """A range of times: 393 to 518 ms, or 930 ms to 1.40 s."""
    low, high = shown(low_s), shown(high_s)
    number, _, unit = low.partition(" ")
    is_same_unit = high.partition(" ")[2] == unit
    return f"{number if is_same_unit else low} to {high}"


def significant(value: float, digits: int = 3) -> str:
    """A number with this many digits or, if it is larger, without decimals: 1.40, 20.0, 1,760."""
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    rounded = round(value, digits - 1 - exponent)
    return f"{rounded:,.{max(0, digits - 1 - exponent)}f}"


def estimated(duration_s: float) -> str:
    """Roughly, in whole units: 45 s, 2 min 5 s, 1 h 10 min, 3 days 4 h."""
    whole = max(1, round(duration_s))
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"


def with_time_left(step: str, left_s: float) -> str:
    """A step of a measurement, and how long the rest takes from here."""
    return f"{step}, about {estimated(left_s)} left"
