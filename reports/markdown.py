"""Parts of pages: tables, and figures with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.analysis.estimates import Estimate


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], right_from: int = 99) -> str:
    """A Markdown table; the columns with indices of at least `right_from` are right-aligned."""
    rules = ["---:" if index >= right_from else "---" for index in range(len(titles))]
    lines = [titles, rules, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def interval(estimate: Estimate) -> str:
    """A figure with its 95 % interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f} (too few blocks)"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
