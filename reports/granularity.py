"""The figure of METG: efficiency against the length of a task."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.granularity.crossings import LENGTHS_S, LEVELS, Metg
from bench.workloads.duration import nominal, shown
from reports.drawing import FAINT, drawing, style_of
from reports.plots import WIDTH_INCHES, save, set_title


def draw_efficiency(outcome: Metg, path: Path) -> None:
    """Efficiency against task length as SVG and PNG, with METG marked; bands contain all blocks."""
    with drawing():
        figure = Figure(figsize=(WIDTH_INCHES, 3.8), layout="constrained")
        axes: Axes = figure.subplots()
        for level in LEVELS:
            axes.axhline(level, color=FAINT, linewidth=1, linestyle=":")
        axes.axhline(1, color=FAINT, linewidth=1, label="ceiling")
        for name, curve in outcome.curves.items():
            colour, marker, dashes, _ = style_of(name)
            lengths, middles, lows, highs = zip(*curve, strict=True)
            axes.fill_between(lengths, lows, highs, color=colour, alpha=0.15, linewidth=0)
            axes.plot(
                lengths,
                middles,
                color=colour,
                marker=marker,
                linestyle=dashes,
                markersize=4,
                label=name,
            )
            for level, crossing in outcome.metg[name].items():
                if 0 < crossing.length_s < math.inf:
                    others = [levels[level].length_s for levels in outcome.metg.values()]
                    is_last = crossing.length_s == max(x for x in others if x < math.inf)
                    _mark(axes, crossing.length_s, level, colour, is_last)
        axes.set_xscale("log")
        axes.set_xticks(LENGTHS_S[::2], [nominal(length_s) for length_s in LENGTHS_S[::2]])
        axes.xaxis.set_minor_locator(NullLocator())
        highest = max(middle for curve in outcome.curves.values() for _, middle, _, _ in curve)
        axes.set_ylim(0, max(1.15, 1.05 * highest))
        axes.set_yticks(
            [0, *LEVELS, 1], ["0", *(f"{100 * level:.0f} %" for level in LEVELS), "100 %"]
        )
        axes.set_xlabel("length of a task (log scale)")
        axes.set_ylabel(f"share of what {outcome.workers} processes reach")
        title = f"METG of {outcome.kernel} on {outcome.workers} workers"
        set_title(axes, title)
        save(figure, [axes], path)


def _mark(axes: Axes, length_s: float, level: float, colour: str, is_last: bool) -> None:
    """A circle with its length: on the right of the last one at a level, on the left of others."""
    axes.plot(
        [length_s], [level], "o", color="none", markeredgecolor=colour, markersize=7, zorder=4
    )
    axes.annotate(
        length_of(length_s),
        (length_s, level),
        textcoords="offset points",
        xytext=(6, -11) if is_last else (-6, 6),
        ha="left" if is_last else "right",
        fontsize=8,
        color=colour,
    )


def length_of(length_s: float) -> str:
    """A length with two digits; in words if it is outside of the measured range."""
    if math.isinf(length_s):
        return "not reached"
    if not length_s:
        return f"below {nominal(LENGTHS_S[0])}"
    return shown(length_s, digits=2)
