"""Parts of pages: tables and figures in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.analysis.estimates import Estimate


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], right_from: int = 99) -> str:
    """A Markdown table; columns from `right_from` on are aligned to the right."""
    rules = ["---:" if index >= right_from else "---" for index in range(len(titles))]
    lines = [titles, rules, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def interval(estimate: Estimate) -> str:
    """A figure with its 95 % interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f} (too few samples)"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def duration(seconds: float) -> str:
    """Three digits with a fitting unit."""
    if seconds >= 0.9995:
        return f"{seconds:.3g} s"
    if seconds >= 0.9995e-3:
        return f"{1e3 * seconds:.3g} ms"
    return f"{1e6 * seconds:.3g} us"
