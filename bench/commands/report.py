"""`bench report`: draws what a results file says, and prints it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TextIO

import click

from bench.analysis.summary import Group, finding, shortfall, summarise
from bench.machine.noise import Verdict, judge
from bench.results.store import read_results
from reports import write_report

WIDEST = 100


def report(source: Path, folder: Path | None, quiet: bool) -> Verdict:
    """Draws and prints a report; the folder's name is the last line.

    Args:
        source: a results file, or the folder that it is in.
        folder: where figures and page go; None: beside the results.
    """
    folder = folder or (source if source.is_dir() else source.parent)
    results = read_results(source)
    for warning in results.warnings:
        click.echo(f"Warning: {warning}", err=True)
    page = write_report(results, folder)
    verdict = judge(results)
    if quiet:
        click.echo(folder)
        return verdict
    groups = summarise(results)
    for group in groups:
        click.echo("\n".join(_group_lines(group)) + "\n")
    if any(row.is_simulated for group in groups for row in group.rows):
        wrapped("~ was not measured: it is what a perfect scheduler would take on so many cores.")
        click.echo()
    wrapped(finding(groups, int(results.header["cpus"])))
    click.echo()
    wrapped(str(verdict))
    click.echo()
    if (missing := shortfall(results)) is not None:
        click.echo(f"{missing}\n")
    click.echo(f"Report: {page}")
    return verdict


def is_terminal(stream: TextIO | None) -> bool:
    """A stream that was closed before the start is None."""
    return stream is not None and stream.isatty()


def wrapped(text: str) -> None:
    """Prints a paragraph as wide as the terminal."""
    width = min(WIDEST, shutil.get_terminal_size().columns)
    click.echo(click.wrap_text(text, width))


def _group_lines(group: Group) -> list[str]:
    """One shape and kernel, in less than 60 columns; * marks the pick, ~ what is simulated."""
    lines = [
        f"{group.shape}, {group.kernel}: at most {group.bound():.2f} times",
        "  backend    workers       time  speedup  95 % interval",
    ]
    for row in group.rows:
        low, high = row.speedup.low, row.speedup.high
        interval = "" if low is None else f"{low:.2f} to {high:.2f}"
        mark = "*" if row is group.pick else "~" if row.is_simulated else " "
        lines.append(
            f"{mark} {row.case.backend:<10} {row.case.workers:>7} {_milliseconds(row.median_s):>10}"
            f" {row.speedup.value:>8.2f}  {interval}".rstrip()
        )
    return lines


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms" if seconds >= 0.01 else f"{1e3 * seconds:.3f} ms"
