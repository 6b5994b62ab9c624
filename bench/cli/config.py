"""Options from the table [tool.bench] of the nearest pyproject.toml.

The table has the options of `bench run`, as `max-workers`; those of another command are in a table
of its name, as [tool.bench.metg]. The command line goes before the environment (BENCH_MAX_WORKERS,
BENCH_METG_MAX_WORKERS), which goes before this file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench import BenchError

FILE_NAME = "pyproject.toml"
MAIN = "run"  # the command whose options need no name of a command before them


def variable(command: str, option: click.Option) -> str:
    """The environment variable of an option."""
    words = ["BENCH", *([] if command == MAIN else [command]), key_of(option)]
    return "_".join(words).replace("-", "_").upper()


def key_of(option: click.Option) -> str:
    """The option's name in the file, as on the command line: max-workers."""
    return max(option.opts, key=len).lstrip("-")


def defaults(
    options: Mapping[str, Sequence[click.Option]], start: Path | None = None
) -> dict[str, dict[str, Any]]:
    """The values of the file, by command and parameter, as click's `default_map` has them.

    Args:
        options: those of each command.
        start: the folder to look in, and then in those around it; None is the current one.

    Raises:
        BenchError: the file is no TOML, or names an option that the command does not have.
    """
    path, table = _table((start or Path.cwd()).absolute())
    tables: dict[str, dict[str, Any]] = {MAIN: {}}
    tables |= {key: value for key, value in table.items() if isinstance(value, dict)}
    tables[MAIN] |= {key: value for key, value in table.items() if not isinstance(value, dict)}
    found: dict[str, dict[str, Any]] = {}
    for command, values in tables.items():
        if command not in options:
            raise BenchError(f"{path}: [tool.bench.{command}] is of no command; see: bench --help")
        known = {key_of(option): option for option in options[command]}
        found[command] = {}
        for key, value in values.items():
            option = known.get(key.replace("_", "-"))
            if option is None:
                raise BenchError(
                    f"{path}: {key!r} is no option of bench {command}; options of another command"
                    " stand in a table of its name, as [tool.bench.metg]"
                )
            found[command][str(option.name)] = _value(option, value)
    return found


def _value(option: click.Option, value: Any) -> Any:
    """As on the command line, where all is text."""
    if isinstance(value, list):
        return [str(each) for each in value] if option.multiple else ",".join(map(str, value))
    if isinstance(value, bool) and option.is_flag:
        return value
    return [str(value)] if option.multiple else str(value)


def _table(start: Path) -> tuple[Path, dict[str, Any]]:
    for folder in (start, *start.parents):
        path = folder / FILE_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        try:
            tool = tomllib.loads(text).get("tool", {})
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise BenchError(f"{path} is no TOML: {error}") from None
        table = tool.get("bench", {}) if isinstance(tool, dict) else {}
        if not isinstance(table, dict):
            raise BenchError(f"{path}: [tool.bench] is no table")
        return path, table
    return start / FILE_NAME, {}
