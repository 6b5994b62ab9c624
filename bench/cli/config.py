"""Options from the table [tool.bench] of the nearest pyproject.toml.

The table has the options of `bench run`, for example `max-workers`; those of other commands are in
tables of their own, for example [tool.bench.metg]. The command line takes precedence over the
environment (BENCH_MAX_WORKERS, BENCH_METG_MAX_WORKERS), which takes precedence over this file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench import BenchError
from executors.imports.interpreter import current_folder

FILE_NAME = "pyproject.toml"
MAIN = "run"  # the command whose options need no prefix


def variable(command: str, option: click.Option) -> str:
    """The environment variable of an option."""
    words = ["BENCH", *([] if command == MAIN else [command]), key_of(option)]
    return "_".join(words).replace("-", "_").upper()


def table_name(command: str) -> str:
    """The name of the table with the options of a command."""
    return "[tool.bench]" if command == MAIN else f"[tool.bench.{command}]"


def key_of(option: click.Option) -> str:
    """The option's key in the file, spelled as on the command line: max-workers."""
    return max(option.opts, key=len).lstrip("-")


def defaults(
    options: Mapping[str, Sequence[click.Option]], start: Path | None = None
) -> dict[str, dict[str, Any]]:
    """The values of the file by command and parameter, in the form of click's `default_map`.

    Args:
        options: those of each command.
        start: the folder to search, then its parents; None is the current one.

    Raises:
        BenchError: the file is not TOML, or names an option that the command does not have.
    """
    here = start or current_folder()
    if here is None:
        return {}
    path, table = _table(here.absolute())
    tables: dict[str, dict[str, Any]] = {MAIN: {}}
    tables |= {key: value for key, value in table.items() if isinstance(value, dict)}
    tables[MAIN] |= {key: value for key, value in table.items() if not isinstance(value, dict)}
    configured: dict[str, dict[str, Any]] = {}
    for command, values in tables.items():
        if command not in options:
            raise BenchError(
                f"{path}: {table_name(command)} does not belong to a command; see: bench --help"
            )
        known = {key_of(option): option for option in options[command]}
        configured[command] = {}
        for key, value in values.items():
            option = known.get(key.replace("_", "-"))
            if option is None:
                raise BenchError(
                    f"{path}: {key!r} is not an option of bench {command}; put options of other"
                    " commands into tables of their own, such as [tool.bench.metg]"
                )
            configured[command][str(option.name)] = _value(option, value)
    return configured


def _value(option: click.Option, value: Any) -> Any:
    """The value as text, like on the command line."""
    if isinstance(value, list):
        return [str(item) for item in value] if option.multiple else ",".join(map(str, value))
    if isinstance(value, bool) and option.is_flag:
        return value
    return [str(value)] if option.multiple else str(value)


def _table(start: Path) -> tuple[Path, dict[str, Any]]:
    for folder in (start, *start.parents):
        path = folder / FILE_NAME
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError:
            continue
        except UnicodeDecodeError:
            raise BenchError(f"{path} is not TOML: it is not encoded in UTF-8") from None
        try:
            tool = tomllib.loads(text).get("tool", {})
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise BenchError(f"{path} is not TOML: {error}") from None
        table = tool.get("bench", {}) if isinstance(tool, dict) else {}
        if not isinstance(table, dict):
            raise BenchError(f"{path}: [tool.bench] is not a table")
        return path, table
    return start / FILE_NAME, {}
