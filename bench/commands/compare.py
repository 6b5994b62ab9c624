"""`bench compare`: what got faster or slower between two results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from bench.analysis.comparison import CLOCK, SLOWER, Change, Comparison
from bench.analysis.comparison import compare as compare_
from bench.analysis.steadiness import judge
from bench.commands.exit_codes import REGRESSION
from bench.machine.noise import Verdict
from bench.results.store import read_results
from bench.terminal.output import first_column, warn, wrapped
from reports.comparison import markdown, write_comparison


def compare(
    old: Path,
    new: Path,
    threshold: float,
    against: str,
    force: bool,
    form: str,
    output: Path | None,
) -> int:
    """Compares and prints; the exit code is 3 if a case got slower.

    Args:
        old, new: results files, or the folders that they are in.
        form: text, json or markdown.
        output: the folder for page, JSON and forest plot, if they are wanted.
    """
    runs = read_results(old), read_results(new)
    for run in runs:
        for text in run.warnings:
            warn(text)
    comparison = compare_(*runs, threshold, against, force)
    verdicts = judge(runs[0]), judge(runs[1])
    if output is not None:
        write_comparison(comparison, verdicts, output)
        content = _json(comparison, verdicts) + "\n"
        (output / "compare.json").write_text(content, encoding="utf-8")
    if form == "json":
        click.echo(_json(comparison, verdicts))
    elif form == "markdown":
        click.echo(markdown(comparison, verdicts))
    else:
        _show(comparison, verdicts)
        if output is not None:
            click.echo(f"\nReport: {output / 'compare.md'}")
    return REGRESSION if comparison.of(SLOWER) else 0


def _show(comparison: Comparison, verdicts: tuple[Verdict, Verdict]) -> None:
    for difference in comparison.differences:
        wrapped(f"Warning: {difference}")
    is_clock = comparison.against == CLOCK
    what = "time per unit of work" if is_clock else "time relative to sequential"
    wrapped(f"Ratio new / old of the {what}, with its 95 % interval; above 1 is slower")
    pad = first_column((change.case.backend for change in comparison.changes), 11)
    click.echo(f"  {pad('backend')}workers  ratio  95 % interval  verdict")
    group = None
    for change in comparison.changes:
        if (change.case.shape, change.case.kernel) != group:
            group = change.case.shape, change.case.kernel
            click.echo(f"\n{group[0]}, {group[1]}")
        click.echo(_line(change, pad(change.case.backend)))
    for name, cases in (("OLD", comparison.only_old), ("NEW", comparison.only_new)):
        for case in cases:
            click.echo(f"only in {name}: {case}")
    click.echo()
    wrapped(comparison.finding)
    for name, verdict in zip(("OLD", "NEW"), verdicts, strict=True):
        click.echo()
        wrapped(f"{name}: {verdict}")


def _line(change: Change, backend: str) -> str:
    ratio = change.ratio
    interval = "too few blocks" if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
    return (
        f"  {backend}{change.case.workers:>7} {ratio.value:>6.2f}  {interval:<14} {change.verdict}"
    )


def _json(comparison: Comparison, verdicts: tuple[Verdict, Verdict]) -> str:
    content: dict[str, Any] = {
        "against": comparison.against,
        "threshold": comparison.threshold,
        "finding": comparison.finding,
        "noise": {
            name: verdict.as_json() for name, verdict in zip(("old", "new"), verdicts, strict=True)
        },
        "differences": comparison.differences,
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
            for change in comparison.changes
        ],
        "only_old": [str(case) for case in comparison.only_old],
        "only_new": [str(case) for case in comparison.only_new],
    }
    return json.dumps(content, indent=2)
