"""`bench compare`: what got faster or slower between two results."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from bench import BenchError
from bench.analysis.comparison import (
    FASTER,
    INCONCLUSIVE,
    SAME,
    SLOWER,
    YARDSTICK,
    Change,
    Comparison,
)
from bench.analysis.comparison import compare as compare_
from bench.machine.noise import UNUSABLE
from bench.results.store import read_results
from bench.terminal.answers import show_verdict
from bench.terminal.exit_codes import REGRESSION, UNSURE
from bench.terminal.output import echo, emphasised, first_column, warn, wrapped
from executors.spelling import instead
from reports.comparison import markdown, write_comparison

REGRESSED, NEVER = "regression", "never"
FAILURES = (REGRESSED, INCONCLUSIVE, UNUSABLE)  # what --fail-on takes
COLOURS = {SLOWER: "red", FASTER: "green"}


def compare(
    old: Path,
    new: Path,
    threshold: float,
    against: str | None,
    force: bool,
    fail_on: str | None,
    form: str,
    output: Path | None,
    quiet: bool,
) -> int:
    """Compares and prints.

    Args:
        old, new: results files, or the folders that they are in.
        fail_on: what gives an exit code other than 0, of FAILURES; None means a regression (3), or
            that nothing can be said (4).
        form: text, json or markdown.
        output: the folder for page, JSON and forest plot, if they are wanted.
        quiet: print one sentence only.
    """
    reasons = None if fail_on is None else _reasons(fail_on)
    runs = read_results(old), read_results(new)
    for run in runs:
        for text in run.warnings:
            warn(text)
    comparison = compare_(*runs, threshold, against, force)
    if output is not None:
        write_comparison(comparison, output)
        (output / "compare.json").write_text(_json(comparison) + "\n", encoding="utf-8")
    if form == "json":
        echo(_json(comparison))
    elif form == "markdown":
        echo(markdown(comparison))
    elif quiet:
        echo(comparison.finding)
    else:
        _show(comparison)
        if output is not None:
            echo(f"\nReport: {output / 'compare.md'}")
    return _exit_code(comparison, reasons)


def _reasons(text: str) -> set[str]:
    reasons = {item.strip() for item in text.split(",")}
    for reason in sorted(reasons - {*FAILURES, NEVER}):
        known = instead(reason, [*FAILURES, NEVER], "known reasons")
        raise BenchError(f"--fail-on: unknown reason {reason!r}; {known}")
    if NEVER in reasons and len(reasons) > 1:
        raise BenchError(f"--fail-on {NEVER} cannot be combined with {text!r}")
    return reasons


def _exit_code(comparison: Comparison, reasons: set[str] | None) -> int:
    """3 for a regression, 4 if what should have been decided is not."""
    if comparison.of(SLOWER) and (reasons is None or REGRESSED in reasons):
        return REGRESSION
    if reasons is None:
        is_open = not comparison.is_decided
    else:
        nothing = not comparison.judged
        is_open = INCONCLUSIVE in reasons and (nothing or bool(comparison.of(INCONCLUSIVE)))
        is_open |= UNUSABLE in reasons and not comparison.is_usable
    return UNSURE if is_open else 0


def _show(comparison: Comparison) -> None:
    for difference in comparison.differences:
        wrapped(f"Warning: {difference}")
    wrapped(f"Ratio new / old of the {comparison.what}, with its 95 % interval; above 1 is slower")
    pad = first_column((change.case.line for change in comparison.changes), 11)
    echo(f"  {pad('backend')}workers  ratio  95 % interval  verdict")
    group = None
    for change in comparison.changes:
        if change.case.subject != group:
            group = change.case.subject
            echo(f"\n{group}")
        echo(_line(change, pad(change.case.line)))
    moved = [change for change in comparison.of(YARDSTICK) if _has_moved(change, comparison)]
    if moved:
        most = max(moved, key=lambda change: abs(change.ratio.value - 1))
        echo()
        wrapped(
            f"The sequential times, which the others are divided by, changed themselves: by"
            f" {most.ratio.value:.2f} for {most.case.subject}. To compare the times themselves:"
            " --against clock."
        )
    for name, cases in (("OLD", comparison.only_old), ("NEW", comparison.only_new)):
        for case in cases:
            echo(f"only in {name}: {case}")
    names = list(zip(("OLD", "NEW"), comparison.verdicts, strict=True))
    noisy = [(name, verdict) for name, verdict in names if not verdict.is_clean]
    for name, verdict in noisy:  # first: they make the rest doubtful
        echo()
        show_verdict(verdict, name)
    echo()
    wrapped(comparison.finding, bold=True)
    for name, verdict in names:
        if verdict.is_clean:
            echo()
            show_verdict(verdict, name)


def _has_moved(change: Change, comparison: Comparison) -> bool:
    """Whether a sequential time is more than the threshold from what it was."""
    most = 1 + comparison.threshold
    return not 1 / most <= change.ratio.value <= most


def _line(change: Change, backend: str) -> str:
    ratio = change.ratio
    interval = "too few blocks" if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
    line = (
        f"  {backend}{change.case.workers:>7} {ratio.value:>6.2f}  {interval:<14} {change.verdict}"
    )
    return emphasised(line, change.verdict == SLOWER, COLOURS.get(change.verdict))


def _json(comparison: Comparison) -> str:
    content: dict[str, Any] = {
        "against": comparison.against,
        "threshold": comparison.threshold,
        "finding": comparison.finding,
        "noise": {
            name: verdict.as_json()
            for name, verdict in zip(("old", "new"), comparison.verdicts, strict=True)
        },
        "differences": comparison.differences,
        "counts": {
            verdict: len(comparison.of(verdict))
            for verdict in (SLOWER, FASTER, SAME, INCONCLUSIVE, YARDSTICK)
        },
        "cases": [
            {
                "shape": change.case.shape,
                "kernel": change.case.kernel,
                "backend": change.case.backend,
                **({"python": change.case.python} if change.case.python else {}),
                "workers": change.case.workers,
                "against": change.against,
                "old": {"runs": len(change.old_s), "median_s": median(change.old_s)},
                "new": {"runs": len(change.new_s), "median_s": median(change.new_s)},
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
