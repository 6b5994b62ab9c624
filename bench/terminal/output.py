"""Standard output and standard error, on a terminal and elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

import click

WIDEST = 100  # columns of a paragraph
STAR, GUESS, NOT_MEASURED = "*", "?", "~"  # marks of the pick, of a best guess, of a simulation


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; one that was closed before the start is None."""
    return stream is not None and stream.isatty()


def echo(text: object = "", nl: bool = True, err: bool = False) -> None:
    """Prints a text; one that nobody reads is dropped, since the work and the exit code remain."""
    try:
        click.echo(text, nl=nl, err=err)
    except BrokenPipeError:
        stream = sys.stderr if err else sys.stdout
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # or what is left in the stream fails at the end
        os.close(nowhere)


def wrapped(text: str, bold: bool = False, colour: str | None = None) -> None:
    """Prints a paragraph as wide as the terminal."""
    echo(emphasised(_filled(text), bold, colour))


def hanging(text: str, indent: int) -> None:
    """Prints a line of a list; on a narrow terminal, it goes on below its own beginning."""
    if is_terminal(sys.stdout) and len(text) > terminal_width():
        width = max(20, terminal_width())
        lead = " " * (indent if indent < width // 2 else 4)
        text = textwrap.fill(
            text,
            width,
            subsequent_indent=lead,
            break_on_hyphens=False,
            break_long_words=False,
            drop_whitespace=True,
        )
    echo(text)


def emphasised(text: str, bold: bool = True, colour: str | None = None) -> str:
    """The text in bold or in colour if that is wanted here: on a terminal, without NO_COLOR."""
    return click.style(text, fg=colour, bold=bold or None) if _has_colour(sys.stdout) else text


def _has_colour(stream: TextIO | None) -> bool:
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_terminal(stream) and not is_plain


def colour_of_libraries() -> None:
    """Turns off the colours of ZenML's messages where they are not wanted either."""
    if not (_has_colour(sys.stdout) and _has_colour(sys.stderr)):
        os.environ.setdefault("ZENML_LOGGING_COLORS_DISABLED", "true")


def _filled(text: str) -> str:
    """Lines as wide as the terminal; names with hyphens stay whole, so they can be searched for."""
    return textwrap.fill(text, terminal_width(), break_on_hyphens=False, break_long_words=False)


def terminal_width() -> int:
    """Columns of a paragraph: those of the terminal, but no more than can be read easily."""
    return min(WIDEST, shutil.get_terminal_size().columns)


def counted(number: int, noun: str) -> str:
    """For example 1 block, or 7 blocks."""
    return f"{number} {noun}{'s' * (number != 1)}"


def complain(text: str) -> None:
    """Prints one error on standard error."""
    _to_stderr(f"Error: {text}")


def warn(text: str) -> None:
    """Prints one warning on standard error."""
    _to_stderr(f"Warning: {text}")


def explained_os_error(error: OSError) -> str:
    """What the system refused, and what to do about it."""
    where = f"cannot use {error.filename}: " if error.filename else ""
    what_next = "; choose another path" if where else ""
    if error.errno == errno.ENOSPC:
        what_next = "; free some space"
    return f"{where}{error.strerror or error}{what_next}"


def note(text: str) -> None:
    """Prints a sentence on standard error."""
    _to_stderr(text)


def _to_stderr(text: str) -> None:
    """The first line is whole, so that it can be searched for; on a terminal, it wraps at words."""
    first, line_end, rest = text.partition("\n")
    if is_terminal(sys.stderr):
        first = _filled(first)
    with suppress(OSError):  # a full disk, for example: not a reason to stop measuring
        echo(first + line_end + rest, err=True)


def first_column(names: Iterable[str], least: int = 12) -> Callable[[str], str]:
    """What fills a name up to the width of a table's first column: that of the longest name."""
    width = max([least, *(len(name) + 1 for name in names)])
    return lambda name: f"{name:<{width}}"


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
