"""Lengths of time as people write them: 500us, 20ms, 1.5s, 2m, 1h30m."""

from __future__ import annotations

import re

SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
LONGEST_S = 1e9  # 30 years
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s|m|h)")


def seconds(text: str) -> float | None:
    """The seconds of a text like 2m30s; None if it is none above 0, or absurd."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    found_s = sum(float(number) * SECONDS[unit] for number, unit in parts)
    return found_s if 0 < found_s <= LONGEST_S else None


def shown(duration_s: float) -> str:
    """About how long, as people say it: 45 s, 2 min 5 s, 1 h 10 min."""
    whole = max(1, round(duration_s))
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
