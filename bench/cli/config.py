"""Options from the environment and from the table [tool.bench] of the nearest pyproject.toml.

The table has the options of `bench run`, for example `max-workers`; those of other commands are in
tables of their own, for example [tool.bench.metg]. The command line takes precedence over the
environment (BENCH_MAX_WORKERS, BENCH_METG_MAX_WORKERS), which takes precedence over this file.

A command reads only what is its own, so a mistake in another one's table does not stop it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench import BenchError
from bench.terminal.output import warn
from executors.imports.interpreter import current_folder
from executors.spelling import instead, similar

FILE_NAME = "pyproject.toml"
MAIN = "run"  # the command whose options need no prefix
PREFIX = "BENCH_"


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


def check_environment(
    variables: Mapping[str, Collection[str]], command: str, environment: Mapping[str, str]
) -> None:
    """Refuses a variable that is nearly one of the command's; warns of those of others.

    Args:
        variables: the environment variables of each command.

    Raises:
        BenchError: names the variable that may be meant.
    """
    owners = {name: owner for owner, names in variables.items() for name in names}
    for name in environment:
        if name.startswith(PREFIX) and name not in owners:
            meant = similar(name, owners)
            if meant is None:
                continue
            text = f"the environment variable {name} is not an option"
            if owners[meant] == command:
                raise BenchError(f"{text} of bench {command}; did you mean {meant}?")
            warn(f"{text} of a command; did you mean {meant}?")


def defaults(
    command: str,
    options: Sequence[click.Option],
    commands: Collection[str],
    start: Path | None = None,
) -> dict[str, Any]:
    """A command's values in the file by parameter, in the form of click's `default_map`.

    Args:
        options: those of the command.
        commands: the names of all commands.
        start: the folder to search, then its parents; None is the current one.

    Raises:
        BenchError: the file is not TOML, or names an option that the command does not have.
    """
    here = start or current_folder()
    if here is None:
        return {}
    path, tables = _tables(here.absolute())
    for name, value in tables.items():
        if isinstance(value, dict) and name not in commands:
            text = (
                f"{path}: {table_name(name)} does not belong to a command;"
                f" {instead(name, commands, 'commands')}"
            )
            if (similar(name, commands) or MAIN) == command:
                raise BenchError(text)
            warn(text)
    is_table = isinstance(tables.get(command), dict)
    values = dict(tables[command]) if is_table else {}
    if command == MAIN:
        common = {key: value for key, value in tables.items() if not isinstance(value, dict)}
        values = common | values  # [tool.bench.run] is more specific
    known = {key_of(option): option for option in options}
    configured: dict[str, Any] = {}
    for key, value in values.items():
        option = known.get(key.replace("_", "-"))
        if option is None:
            raise BenchError(
                f"{path}: {key!r} in {table_name(command)} is not an option of bench {command};"
                f" {instead(key, known, 'its options')}"
            )
        configured[str(option.name)] = _value(option, value)
    return configured


def _value(option: click.Option, value: Any) -> Any:
    """The value as text, like on the command line."""
    if isinstance(value, list):
        return [str(item) for item in value] if option.multiple else ",".join(map(str, value))
    if isinstance(value, bool) and option.is_flag:
        return value
    return [str(value)] if option.multiple else str(value)


def _tables(start: Path) -> tuple[Path, dict[str, Any]]:
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
