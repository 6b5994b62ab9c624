"""What a line of a results file has to look like: keys, types and ranges."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

NUMBER = (int, float)
OPTIONAL = (int, float, type(None))
LARGEST = 1e15  # of any number in a results file
LATEST_S = 1e11  # of a date, in seconds since 1970

HEADER_SCHEMA = {
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
TEXT_OR_NONE = (str, type(None))
SHAPE_SCHEMA = dict.fromkeys(("tasks", "edges", "depth", "width", "average_parallelism"), NUMBER)
TRIAL_SCHEMA = {
    "source": str,
    "structure": str,
    "work_s": NUMBER,
    "span_s": NUMBER,
    "cpu": NUMBER,
    "factors": {},
    "first_extra_s": {},
    "left_out": {},
    "remarks": {},
}
PYTHON_SCHEMA = dict.fromkeys(("executable", "version", "gil", "compiler", "optimisation"), str)
KERNEL_SCHEMA = {"kernel": str, "units": NUMBER}


def check_keys(value: Any, schema: Any, place: str) -> None:
    """Checks the keys and types that a schema names.

    Raises:
        TypeError: says what is missing or wrong, and where.
    """
    kinds = dict if isinstance(schema, dict) else schema
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{place} must be {_kind(kinds)}, not {str(value)[:40]!r}")
    if isinstance(schema, dict):
        for key, inner in schema.items():
            if key not in value:
                raise TypeError(f"{place} lacks {key!r}")
            check_keys(value[key], inner, f"{key!r} of {place}")


def check_header(header: Mapping[str, Any]) -> None:
    """Checks the header of a results file.

    Raises:
        TypeError: says what is missing or wrong, and where.
    """
    check_keys(header, HEADER_SCHEMA, "the header")
    check_keys(header.get("graphs", {}), {}, "'graphs' of the header")
    pythons = header.get("pythons", {})
    check_keys(pythons, dict.fromkeys(pythons, PYTHON_SCHEMA), "'pythons' of the header")
    if not 1 <= header["cpus"] < LARGEST or not abs(header["created_s"]) < LATEST_S:
        raise TypeError("cpus or created_s is out of range")
    for shape in header["config"]["shapes"]:
        sizes = header["shapes"].get(shape)
        check_keys(sizes, SHAPE_SCHEMA, f"shape {shape!r}")
        recorded = {key: OPTIONAL for key in ("work_s", "span_s") if key in sizes}
        check_keys(sizes, recorded, f"shape {shape!r}")
        if sizes["tasks"] < 1 or sizes["depth"] < 1:
            raise TypeError(f"shape {shape!r} has no tasks")
    for name, trial in header.get("graphs", {}).items():
        check_keys(trial, TRIAL_SCHEMA, f"graph {name!r}")
        for key in ("left_out", "remarks"):
            check_keys(trial[key], dict.fromkeys(trial[key], str), f"{key!r} of graph {name!r}")
        check_keys(
            header["shapes"].get(name), {"work_s": NUMBER, "span_s": NUMBER}, f"shape {name!r}"
        )
    for kernel in header["config"]["kernels"]:
        work = header["kernels"].get(kernel)
        check_keys(work, KERNEL_SCHEMA, f"kernel {kernel!r}")
        if not 0 <= work["units"] < LARGEST:
            raise TypeError(f"the units of kernel {kernel!r} are out of range")
    limits = header["machine"]["blas_threads"]
    check_keys(limits, dict.fromkeys(limits, TEXT_OR_NONE), "'blas_threads' of the machine")
    if min(header["machine"]["cpus"][name] for name in ("installed", "usable")) < 1:
        raise TypeError("the machine has no CPUs")


def check_fields(values: Mapping[str, Any], hints: Mapping[str, Any], place: str) -> None:
    """Checks values against the types of a dataclass's fields.

    Args:
        hints: as `typing.get_type_hints` gives them.

    Raises:
        TypeError: says what is missing or wrong.
    """
    for name, hint in hints.items():
        if name not in values:
            raise TypeError(f"{place} lacks {name!r}")
        if not conforms(values[name], hint):
            raise TypeError(f"{name!r} of {place} must be {_kind(hint)}, not {values[name]!r:.40}")


def conforms(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON is of a type: float takes int, tuple takes list, no bool."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(conforms(value, option) for option in arguments)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            return False
        if origin is tuple and arguments[-1] is not ...:
            pairs: Sequence[tuple[Any, Any]] = list(zip(value, arguments, strict=False))
            return len(value) == len(arguments) and all(conforms(*pair) for pair in pairs)
        return all(conforms(item, arguments[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    if hasattr(hint, "_fields"):  # a NamedTuple of whole numbers
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(hint._fields)
            and all(type(item) is int for item in value)
        )
    return isinstance(value, NUMBER if hint is float else hint)


def _kind(hint: Any) -> str:
    """A type, or a tuple of types, in words."""
    options = hint if isinstance(hint, tuple) else get_args(hint) or (hint,)
    if get_origin(hint) in (list, tuple) or hint is list:
        return "a list"
    names = {dict: "an object", str: "text", int: "a whole number", float: "a number"}
    words = [names.get(option, "null") for option in options]
    if "a number" in words:
        words = [word for word in words if word != "a whole number"]
    return " or ".join(dict.fromkeys(words))
