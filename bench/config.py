"""Options from the table [tool.bench] of the nearest pyproject.toml.

A key is an option of some command, as `max-workers`; it holds for each command that has it. The
command line goes before the environment (BENCH_MAX_WORKERS), which goes before this file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bench import BenchError

FILE_NAME = "pyproject.toml"


def defaults(
    options: Mapping[str, Collection[str]], start: Path | None = None
) -> dict[str, dict[str, Any]]:
    """The values of the file, by command and option.

    Args:
        options: the names of each command's options, as `max_workers`.
        start: the folder to look in, and then in those around it; None is the current one.

    Raises:
        BenchError: the file is no TOML, or names an option that no command has.
    """
    path, table = _table((start or Path.cwd()).absolute())
    found: dict[str, dict[str, Any]] = {command: {} for command in options}
    for key, value in table.items():
        name = key.replace("-", "_")
        commands = [command for command, names in options.items() if name in names]
        if not commands:
            raise BenchError(f"{path}: [tool.bench] has {key!r}, which is no option of any command")
        if isinstance(value, list):
            value = ",".join(map(str, value))
        if isinstance(value, dict):
            raise BenchError(f"{path}: [tool.bench] {key} is a table; options are values")
        for command in commands:
            found[command][name] = value
    return found


def _table(start: Path) -> tuple[Path, dict[str, Any]]:
    for folder in (start, *start.parents):
        path = folder / FILE_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        try:
            table = tomllib.loads(text).get("tool", {}).get("bench", {})
        except tomllib.TOMLDecodeError as error:
            raise BenchError(f"{path} is no TOML: {error}") from None
        if not isinstance(table, dict):
            raise BenchError(f"{path}: [tool.bench] is no table")
        return path, table
    return start / FILE_NAME, {}
