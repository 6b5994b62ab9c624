"""What a line of a results file has to look like: keys and types."""

from __future__ import annotations

from typing import Any

NUMBER = (int, float)
OPTIONAL = (int, float, type(None))
LARGEST = 1e15  # of anything that is measured
HEADER_FORM = {
    "planned": int,
    "cpus": int,
    "created_s": NUMBER,
    "config": {
        "command": str,
        "shapes": list,
        "kernels": list,
        "blocks": int,
        "seed": int,
        "options": {},
    },
    "shapes": {},
    "kernels": {},
    "machine": {
        "system": str,
        "architecture": str,
        "cpu": str,
        "cpus": {"installed": int, "usable": int, "affinity": OPTIONAL, "quota": OPTIONAL},
        "memory_bytes": NUMBER,
        "load_1min": NUMBER,
        "others_running": OPTIONAL,
        "blas_threads": {},
    },
    "versions": {},
}
SHAPE_FORM = dict.fromkeys(("tasks", "edges", "depth", "width", "average_parallelism"), NUMBER)


def check_form(value: Any, form: Any, place: str) -> None:
    """Checks keys and types as far as the form names them.

    Raises:
        TypeError: says what is missing or wrong, and where.
    """
    kinds = dict if isinstance(form, dict) else form
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{place} is {str(value)[:40]!r}, which it cannot be")
    if isinstance(form, dict):
        for key, inner in form.items():
            if key not in value:
                raise TypeError(f"{place} lacks {key!r}")
            check_form(value[key], inner, f"{key!r} of {place}")
