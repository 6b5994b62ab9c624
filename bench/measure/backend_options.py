"""Options of backends from the command line: `--backend-option NAME.KEY=VALUE`."""

from __future__ import annotations

import inspect
import os
import types
import typing
from collections.abc import Iterable
from typing import Any

from bench import BenchError
from bench.workloads.duration import seconds
from executors.backends import backend_class
from executors.spelling import instead

OPTION = "--backend-option"
FORM = "NAME.KEY=VALUE, for example processes.memory_limit_bytes=2000000000"
TRUTHS = {"true": True, "yes": True, "false": False, "no": False}

Options = dict[str, dict[str, Any]]  # by backend, then by the argument of its class


def parsed(texts: Iterable[str], backends: Iterable[str]) -> Options:
    """The options of each backend, with values of the types that its class takes.

    Args:
        texts: such as "processes.preload=numpy,pandas".
        backends: those of the plan.

    Raises:
        BenchError: one has another form or a wrong value, or names no backend of the plan, or
            nothing that its class takes.
        BackendError: the backend cannot be imported.
    """
    options: Options = {}
    known = list(backends)
    for text in texts:
        where, equals, value = text.partition("=")
        name, dot, key = where.partition(".")
        if not (equals and dot and name and key):
            raise BenchError(f"{OPTION} must be {FORM}, not {text!r}")
        if name not in known:
            raise BenchError(
                f"{OPTION} {text}: the plan has no backend {name!r};"
                f" {instead(name, known, 'its backends')}"
            )
        kinds = _kinds(name)
        if key not in kinds:
            raise BenchError(
                f"{OPTION} {text}: backend {name!r} has no option {key!r};"
                f" {instead(key, kinds, 'its options')}"
            )
        if key in options.setdefault(name, {}):
            raise BenchError(f"{OPTION} {name}.{key} is given twice")
        options[name][key] = _value(text, value, kinds[key])
    return options


def with_environment(texts: Iterable[str], backends: Iterable[str]) -> tuple[str, ...]:
    """The options, and those that the environment sets, so that all are recorded."""
    given = tuple(texts)
    named = {text.partition("=")[0] for text in given}
    found = [
        f"{name}.{key}={os.environ[variable]}"
        for name in backends
        for key, variable in backend_class(name).environment.items()
        if os.environ.get(variable) and f"{name}.{key}" not in named
    ]
    return given + tuple(found)


def option_names(backend: str) -> list[str]:
    """The options that a backend takes from the command line."""
    return sorted(_kinds(backend))


def _kinds(backend: str) -> dict[str, set[Any]]:
    """The types that each option may have; without those that only code can give."""
    kind = backend_class(backend)
    try:
        hints = typing.get_type_hints(kind.__init__)
    except Exception:  # hints of another package that only a type checker can read
        hints = {}
    kinds = {}
    for name in inspect.signature(kind).parameters:
        if name != "workers" and (found := _plain(hints.get(name, str))):
            kinds[name] = found
    return kinds


def _plain(hint: Any) -> set[Any]:
    """The types of a hint that can be written as text."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    parts = typing.get_args(hint) if is_union else (hint,)
    origins = {typing.get_origin(part) or part for part in parts}
    return origins & {bool, int, float, str, tuple, list} | (
        {tuple} if any(_is_collection(origin) for origin in origins) else set()
    )


def _is_collection(kind: Any) -> bool:
    abstract = (typing.Collection, typing.Sequence, typing.Iterable)
    return kind in {typing.get_origin(one) for one in abstract}


def _value(text: str, value: str, kinds: set[Any]) -> Any:
    if bool in kinds and value.lower() in TRUTHS:
        return TRUTHS[value.lower()]
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(value)
            except ValueError:
                pass
    if float in kinds and (duration_s := seconds(value)) is not None:
        return duration_s
    if tuple in kinds or list in kinds:
        return tuple(part.strip() for part in value.split(","))
    if str in kinds:
        return value
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}
    allowed = " or ".join(words for kind, words in wanted.items() if kind in kinds)
    raise BenchError(f"{OPTION} {text}: the value must be {allowed}")
