"""`bench report`: draws what a results file says, and prints it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.analysis.losses.account import Account
from bench.analysis.pythons import remarks
from bench.analysis.summary import Group, Row, Summary, summarise
from bench.machine.noise import Verdict
from bench.results.store import read_results
from bench.terminal.answers import show_answers
from bench.terminal.output import (
    GUESS,
    NOT_MEASURED,
    STAR,
    echo,
    emphasised,
    first_column,
    hanging,
    warn,
    wrapped,
)
from bench.workloads.duration import shown
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
    for text in results.warnings:
        warn(text)
    summary = summarise(results)
    page = write_report(summary, folder)
    if form == "json":
        echo(json.dumps(_content(summary, page), indent=1))
    elif quiet:
        echo(folder)
    else:
        _show(summary)
        echo(f"Report: {page}, and with timelines: {page.with_suffix('.html').name}")
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
                "is_sure": group.guess is None,
                "guess": _name(group.guess) if group.guess else None,
                "at_least": group.answer.at_least,
                "rival": _name(group.rival) if group.rival else None,
                "cases": [_case(row, group) for row in group.rows],
            }
            for group in summary.groups
        ],
    }


def _name(row: Row) -> dict[str, Any]:
    python = {"python": row.case.python} if row.case.python else {}
    return {"backend": row.case.backend, "workers": row.case.workers, **python}


def _case(row: Row, group: Group) -> dict[str, Any]:
    return {
        **_name(row),
        "runs": len(row.wall_s),
        "median_s": row.median_s,
        "speedup": asdict(row.speedup),
        **({"own_speedup": asdict(row.own)} if row.case.python else {}),
        "speedup_with_start": asdict(row.cold),
        "efficiency": row.efficiency,
        "of_ceiling": row.of_ceiling,
        "cores_busy": row.cores_busy,
        "account": _account(row.account),
        "largest_loss": asdict(cause) if (cause := group.causes.get(row.case)) else None,
    }


def _account(account: Account | None) -> dict[str, Any] | None:
    """The shares of workers x makespan, and the efficiencies of the POP model."""
    if account is None:
        return None
    return {
        "shares": {str(part): asdict(share) for part, share in account.shares.items()},
        "efficiency": account.efficiency,
        "parallel_efficiency": account.parallel_efficiency,
        "computation_scaling": account.computation_scaling,
    }


def _show(summary: Summary) -> None:
    for group in summary.groups:
        echo("\n".join(_group_lines(group)))
        if group.pythons:
            hanging(f"  speedup: over {group.baseline}; own: over the same Python's", 4)
        for sentence in group.sharing:
            hanging(f"  {sentence}", 4)
        if (cause := group.causes.get((group.guess or group.pick).case)) is not None:
            share = f"{100 * cause.share:.0f} %"
            hanging(f"  lost: {share} of the workers' time, because {cause.loss}", 8)
        echo()
    if any(row.case.is_simulated for group in summary.groups for row in group.rows):
        wrapped(f"{NOT_MEASURED} marks simulated times: a perfect scheduler on that many cores.")
        echo()
    show_answers(summary.answers, summary.verdict, summary.finding)
    echo()
    for remark in remarks(summary.results):
        wrapped(remark)
        echo()
    if summary.shortfall is not None:
        wrapped(summary.shortfall)
        echo()


def _group_lines(group: Group) -> list[str]:
    """One shape and kernel, in less than 60 columns."""
    pad = first_column((row.case.name for row in group.rows), 11)
    what = "stack" if group.stacks else "backend"
    bounded, own, width = ("own speedup", "   own", 7) if group.pythons else ("speedup", "", 10)
    lines = [
        f"{group.name}: {bounded} at most {group.bound():.2f}",
        f"  {pad(what)}workers {'time':>{width}}  speedup{own}  95 % interval",
    ]
    python = ""
    for row in group.rows:
        if row.case.python != python:
            python = row.case.python
            lines.append(f" {python}")
        low, high = row.speedup.low, row.speedup.high
        interval = "" if low is None or row is group.reference else f"{low:.2f} to {high:.2f}"
        own = f" {row.own.value:>5.2f}" if python else ""
        mark = _mark(row, group)
        line = (
            f"{mark} {pad(row.case.name)}{row.case.workers:>7} {shown(row.median_s):>{width}}"
            f" {row.speedup.value:>8.2f}{own}  {interval}".rstrip()
        )
        lines.append(emphasised(line) if mark == STAR else line)
    return lines


def _mark(row: Row, group: Group) -> str:
    if row.case.is_simulated:
        return NOT_MEASURED
    if row is (group.guess or group.pick):
        return STAR if group.guess is None else GUESS
    return " "
