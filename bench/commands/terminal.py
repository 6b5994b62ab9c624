"""What all commands do with the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import click

WIDEST = 100


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; one that was closed before the start is None."""
    return stream is not None and stream.isatty()


def wrapped(text: str) -> None:
    """Prints a paragraph as wide as the terminal."""
    width = min(WIDEST, shutil.get_terminal_size().columns)
    click.echo(click.wrap_text(text, width))


def first_column(names: Iterable[str], least: int = 12) -> Callable[[str], str]:
    """What fills a name up to the width of a table's first column: that of the longest name."""
    width = max([least, *(len(name) + 1 for name in names)])
    return lambda name: f"{name:<{width}}"


def progress(length: int, label: str, quiet: bool) -> Any:
    """A progress bar on standard error, hidden if that is not a terminal or `quiet` is set."""
    hidden = quiet or not is_terminal(sys.stderr)
    return click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden, width=20)


@contextmanager
def answer_alone(wanted: bool) -> Iterator[None]:
    """Keeps standard output for JSON: what tasks and libraries print goes to standard error."""
    if not wanted or sys.stdout is None:
        yield
        return
    sys.stdout.flush()
    with ExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(sys.stderr or nowhere))
        kept = os.dup(1)
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 1)
        os.dup2(2 if sys.stderr else nowhere.fileno(), 1)  # the one that workers inherit
        yield
