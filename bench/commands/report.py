"""`bench report`: draws what a results file says, and prints it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench.analysis.summary import Group, Row, Summary, summarise
from bench.commands.terminal import first_column, wrapped
from bench.machine.noise import Verdict
from bench.results.store import read_results
from bench.workloads.duration import in_milliseconds
from reports import write_report


def report(source: Path, folder: Path | None, form: str, quiet: bool) -> Verdict:
    """Draws and prints a report; without JSON, the folder's name is the last line.

    Args:
        source: a results file, or the folder that it is in.
        folder: where figures and page go; None: beside the results.
        form: text or json.
    """
    folder = folder or (source if source.is_dir() else source.parent)
    results = read_results(source)
    for warning in results.warnings:
        click.echo(f"Warning: {warning}", err=True)
    summary = summarise(results)
    page = write_report(summary, folder)
    if form == "json":
        click.echo(json.dumps(_content(summary, page), indent=1))
    elif quiet:
        click.echo(folder)
    else:
        _show(summary)
        click.echo(f"Report: {page}")
    return summary.verdict


def _content(summary: Summary, page: Path) -> dict[str, Any]:
    return {
        "report": str(page),
        "finding": summary.finding,
        "shortfall": summary.shortfall,
        "noise": summary.verdict.as_json(),
        "groups": [
            {
                "shape": group.shape,
                "kernel": group.kernel,
                "tasks": group.tasks,
                "depth": group.depth,
                "bound": group.bound(),
                "pick": _name(group.pick),
                "rival": _name(group.rival) if group.rival else None,
                "cases": [_case(row) for row in group.rows],
            }
            for group in summary.groups
        ],
    }


def _name(row: Row) -> dict[str, Any]:
    return {"backend": row.case.backend, "workers": row.case.workers}


def _case(row: Row) -> dict[str, Any]:
    return {
        **_name(row),
        "runs": len(row.wall_s),
        "median_s": row.median_s,
        "speedup": asdict(row.speedup),
        "speedup_with_start": asdict(row.cold),
        "efficiency": row.efficiency,
        "of_ceiling": row.of_ceiling,
        "cores_busy": row.cores_busy,
    }


def _show(summary: Summary) -> None:
    for group in summary.groups:
        click.echo("\n".join(_group_lines(group)) + "\n")
    if any(row.case.is_simulated for group in summary.groups for row in group.rows):
        wrapped("~ marks simulated times: those of a perfect scheduler on that many cores.")
        click.echo()
    wrapped(summary.finding)
    click.echo()
    wrapped(str(summary.verdict))
    click.echo()
    if summary.shortfall is not None:
        click.echo(f"{summary.shortfall}\n")


def _group_lines(group: Group) -> list[str]:
    """One shape and kernel, in less than 60 columns; * marks the pick, ~ what is simulated."""
    pad = first_column((row.case.backend for row in group.rows), 11)
    lines = [
        f"{group.shape}, {group.kernel}: speedup at most {group.bound():.2f}",
        f"  {pad('backend')}workers       time  speedup  95 % interval",
    ]
    for row in group.rows:
        low, high = row.speedup.low, row.speedup.high
        interval = "" if low is None else f"{low:.2f} to {high:.2f}"
        mark = "*" if row is group.pick else "~" if row.case.is_simulated else " "
        time = in_milliseconds(row.median_s)
        lines.append(
            f"{mark} {pad(row.case.backend)}{row.case.workers:>7} {time:>10}"
            f" {row.speedup.value:>8.2f}  {interval}".rstrip()
        )
    return lines
