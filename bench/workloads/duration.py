"""Durations: read as people type them (500us, 20ms, 1h30m), and shown the same everywhere."""

from __future__ import annotations

import re

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


def shown(duration_s: float, digits: int = 3) -> str:
    """Rounded, with a fitting unit: 1.23 s, 20 ms, 512 us."""
    unit = next((unit for unit in ("s", "ms") if duration_s >= 0.9995 * SECONDS[unit]), "us")
    rounded = float(f"{duration_s / SECONDS[unit]:.{digits}g}")
    return f"{rounded:g} {unit}"


def in_milliseconds(duration_s: float) -> str:
    """For columns: always in milliseconds, with a resolution of 0.1 ms or, below 10 ms, 1 us."""
    return f"{1e3 * duration_s:.{1 if duration_s >= 0.01 else 3}f} ms"


def estimated(duration_s: float) -> str:
    """Roughly, in whole units: 45 s, 2 min 5 s, 1 h 10 min."""
    whole = max(1, round(duration_s))
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
