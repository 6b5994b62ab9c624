"""The page of a comparison, and its forest plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.analysis.comparison import (
    FASTER,
    INCONCLUSIVE,
    SAME,
    SLOWER,
    YARDSTICK,
    Change,
    Comparison,
)
from reports.drawing import FAINT, INK, drawing
from reports.markdown import interval, table
from reports.plots import WIDTH_INCHES, save, set_title

COLOURS = {
    SLOWER: "#D55E00",
    FASTER: "#0072B2",
    SAME: "#009E73",
    INCONCLUSIVE: INK,
    YARDSTICK: FAINT,
}
MARKERS = {SLOWER: ">", FASTER: "<", SAME: "s", INCONCLUSIVE: "o", YARDSTICK: "D"}
ROW_INCHES = 0.22


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Draws the forest plot and writes the page; the same results give the same bytes.

    Returns:
        The path of the page.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _draw(comparison, folder / "compare")
    page = folder / "compare.md"
    text = markdown(comparison)
    first, _, rest = text.partition("\n\n| ")
    figure = f"![{_alternative(comparison)}](compare.svg)"
    page.write_text(f"{first}\n\n{figure}\n\n| {rest}\n", encoding="utf-8")
    return page


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, without the figure."""
    rows = [
        [
            change.case.shape,
            change.case.kernel,
            change.case.line,
            str(change.case.workers),
            interval(change.ratio),
            change.verdict,
        ]
        for change in comparison.changes
    ]
    percent = 100 * comparison.threshold
    verdicts = comparison.verdicts
    parts = [
        "# What changed",
        f"**{comparison.finding}**",
        f"Old: {verdicts[0]}\n\nNew: {verdicts[1]}",
        *(f"Compared despite a difference: {difference}." for difference in comparison.differences),
        table(["graph", "tasks", "backend", "workers", "new / old", "verdict"], rows),
        f"The ratio is new / old of the {comparison.what}, with its 95 % interval; above 1 is"
        f" slower. Slower and faster mean a change of more than {percent:g} % whose interval does"
        f" not contain 1; same means that the interval lies within {percent:g} %.",
        *(
            f"Only in {name}: {', '.join(map(str, cases))}."
            for name, cases in (("old", comparison.only_old), ("new", comparison.only_new))
            if cases
        ),
    ]
    return "\n\n".join(parts)


def _alternative(comparison: Comparison) -> str:
    return f"Forest plot of new over old with 95 % intervals. {comparison.finding}"


def _draw(comparison: Comparison, path: Path) -> None:
    """A row per case, with its interval, below the name of its group; the band is the threshold."""
    labels: list[str] = []
    places: list[int] = []  # of the changes, from the top
    headings: dict[int, str] = {}
    for change in comparison.changes:
        if change.case.subject not in headings.values():
            headings[len(labels)] = change.case.subject
            labels.append("")
        places.append(len(labels))
        labels.append(change.case.where)
    with drawing():
        height = 1.5 + ROW_INCHES * len(labels)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        axes: Axes = figure.subplots()
        low, high = 1 / (1 + comparison.threshold), 1 + comparison.threshold
        axes.axvspan(low, high, color=FAINT, alpha=0.2, linewidth=0, zorder=0)
        axes.axvline(1, color=FAINT, linewidth=1)
        for place, change in zip(places, comparison.changes, strict=True):
            _row(axes, place, change)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xscale("log")
        _ticks(axes, comparison)
        for place, heading in headings.items():
            text: dict[str, Any] = {"va": "center", "fontweight": "bold"}
            axes.text(0.01, place, heading, transform=axes.get_yaxis_transform(), **text)
        axes.set_xlabel("new / old (log scale): slower to the right")
        set_title(axes, "What changed")
        save(figure, [axes], path)


def _row(axes: Axes, row: int, change: Change) -> None:
    style: dict[str, Any] = {"color": COLOURS[change.verdict], "label": change.verdict}
    ratio = change.ratio
    if ratio.low is not None and ratio.high is not None:
        axes.plot([ratio.low, ratio.high], [row, row], color=style["color"], linewidth=1.5)
    axes.plot([ratio.value], [row], MARKERS[change.verdict], markersize=5, **style)


def _ticks(axes: Axes, comparison: Comparison) -> None:
    ends = [
        end
        for change in comparison.changes
        for end in (change.ratio.low, change.ratio.value, change.ratio.high)
        if end is not None
    ]
    low, high = min(0.9, *ends) / 1.02, max(1.1, *ends) * 1.02
    steps = [0.1, 0.2, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 5.0, 10.0]
    shown = [step for step in steps if low <= step <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(shown, [f"{step:g}" for step in shown])
    axes.xaxis.set_minor_locator(NullLocator())
