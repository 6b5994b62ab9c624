"""`bench compare`: what got faster or slower between two results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from bench.analysis.comparison import CLOCK, SLOWER, Change, Comparison
from bench.analysis.comparison import compare as compare_
from bench.commands.report import wrapped
from bench.machine.noise import Verdict, judge
from bench.results.store import read_results
from reports.comparison import markdown, write_comparison

REGRESSION = 3


def compare(
    old: Path,
    new: Path,
    threshold: float,
    against: str,
    force: bool,
    form: str,
    output: Path | None,
) -> int:
    """Compares and prints; the exit code: 3 where something got slower.

    Args:
        old, new: results files, or the folders that they are in.
        form: text, json or markdown.
        output: the folder for page, JSON and forest plot, if they are wanted.
    """
    results = read_results(old), read_results(new)
    for each in results:
        for warning in each.warnings:
            click.echo(f"Warning: {warning}", err=True)
    found = compare_(*results, threshold, against, force)
    verdicts = judge(results[0]), judge(results[1])
    if output is not None:
        write_comparison(found, verdicts, output)
        (output / "compare.json").write_text(_json(found, verdicts) + "\n", encoding="utf-8")
    if form == "json":
        click.echo(_json(found, verdicts))
    elif form == "markdown":
        click.echo(markdown(found, verdicts))
    else:
        _show(found, verdicts)
        if output is not None:
            click.echo(f"\nReport: {output / 'compare.md'}")
    return REGRESSION if found.of(SLOWER) else 0


def _show(found: Comparison, verdicts: tuple[Verdict, Verdict]) -> None:
    for difference in found.differences:
        wrapped(f"Warning: {difference}")
    what = "time for a unit of work" if found.against == CLOCK else "time over that of sequential"
    wrapped(f"new / old of the {what}, with its 95 % interval; above 1 is slower")
    click.echo("  backend    workers  ratio  95 % interval  verdict")
    group = None
    for change in found.changes:
        if (change.case.shape, change.case.kernel) != group:
            group = change.case.shape, change.case.kernel
            click.echo(f"\n{group[0]}, {group[1]}")
        click.echo(_line(change))
    for name, cases in (("OLD", found.only_old), ("NEW", found.only_new)):
        for case in cases:
            click.echo(f"only in {name}: {case}")
    click.echo()
    wrapped(found.finding)
    for name, verdict in zip(("OLD", "NEW"), verdicts, strict=True):
        click.echo()
        wrapped(f"{name}: {verdict}")


def _line(change: Change) -> str:
    ratio = change.ratio
    interval = "too few blocks" if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
    return (
        f"  {change.case.backend:<10} {change.case.workers:>7} {ratio.value:>6.2f}"
        f"  {interval:<14} {change.verdict}"
    )


def _json(found: Comparison, verdicts: tuple[Verdict, Verdict]) -> str:
    content: dict[str, Any] = {
        "against": found.against,
        "threshold": found.threshold,
        "finding": found.finding,
        "noise": {
            name: {"level": verdict.level, "reasons": [reason.text for reason in verdict.reasons]}
            for name, verdict in zip(("old", "new"), verdicts, strict=True)
        },
        "differences": found.differences,
        "cases": [
            {
                "shape": change.case.shape,
                "kernel": change.case.kernel,
                "backend": change.case.backend,
                "workers": change.case.workers,
                "ratio": change.ratio.value,
                "low": change.ratio.low,
                "high": change.ratio.high,
                "verdict": change.verdict,
            }
            for change in found.changes
        ],
        "only_old": [str(case) for case in found.only_old],
        "only_new": [str(case) for case in found.only_new],
    }
    return json.dumps(content, indent=2)
