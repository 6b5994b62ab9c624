"""Measured times and numbers, shown the same everywhere."""

from __future__ import annotations

UNITS = {"s": 1.0, "ms": 1e-3}  # and us
LONG_S = 99.95  # from here on in minutes and hours


def shown(duration_s: float, digits: int = 3) -> str:
    """A measured time with three digits and a fitting unit: 1.40 s, 20.0 ms, 512 us, 2 min 5 s."""
    if not duration_s:
        return "0 s"
    if duration_s == float("inf"):
        return "never"
    if duration_s >= LONG_S:
        return estimated(duration_s)
    unit = next((unit for unit in UNITS if duration_s >= 0.9995 * UNITS[unit]), "us")
    return f"{significant(duration_s / UNITS.get(unit, 1e-6), digits)} {unit}"


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
