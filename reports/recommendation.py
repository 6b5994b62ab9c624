"""The figure of recommendations: predicted curves and measured points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from bench.recommend.recommendation import Candidate, Recommendation
from reports.markdown import duration
from reports.plots import MUTED, SETTINGS, panels_of, save, style_of, unless_crowded

MOST_PANELS = 12
LEAST_TICKS = 3


def draw_recommendations(found: Sequence[Recommendation], cpus: int, path: Path) -> None:
    """A panel for each of the first twelve, as SVG and PNG: time against max_workers.

    Lines and bands are predicted, with their range; what was run is a filled marker with the range
    of its runs. The star is the pick, the grey line the critical path.
    """
    with mpl.rc_context(SETTINGS):
        figure, panels = panels_of(min(len(found), MOST_PANELS))
        for axes, each in zip(panels, found, strict=False):
            _panel(axes, each, cpus)
        figure.suptitle("Predicted and measured time", x=0.02, ha="left", fontweight="bold")
        save(figure, panels, path, legend_inches=2.2)


def _panel(axes: Axes, found: Recommendation, cpus: int) -> None:
    axes.axvline(cpus, color="#BBBBBB", linewidth=5, alpha=0.5, zorder=0, label="CPUs")
    if found.span_s:
        axes.axhline(found.span_s, color=MUTED, linewidth=1, label="critical path")
    for backend in dict.fromkeys(each.backend for each in found.candidates):
        _curve(axes, [each for each in found.candidates if each.backend == backend], backend)
    if found.pick is not None:
        axes.plot(
            [found.pick.workers],
            [found.pick.seconds],
            marker="*",
            linestyle="none",
            markersize=17,
            color="#F0E442",
            markeredgecolor="black",
            zorder=1,  # behind what was measured
            label="pick",
        )
    axes.set_title(found.name, loc="left", fontsize=8)
    counts = sorted({each.workers for each in found.candidates})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, unless_crowded(counts))
    axes.set_xlabel("max_workers (log scale)")
    axes.set_yscale("log")
    estimates = [made for each in found.candidates for made in (each.predicted, each.measured)]
    ends = [end for made in estimates if made for end in (made.low, made.value, made.high)]
    times = [each for each in (*ends, found.span_s or found.work_s) if each] or [1.0]
    low, high = min(times) * 0.8, max(times) * 1.25
    ticks: list[float] = []
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):  # more of them where there is room
        if len(ticks) < LEAST_TICKS:
            steps = [digit * 10.0**power for power in range(-6, 6) for digit in digits]
            ticks = [step for step in steps if low <= step <= high]
    axes.set_yticks(ticks, [duration(tick) for tick in ticks])
    axes.set_ylim(low, high)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _curve(axes: Axes, own: Sequence[Candidate], backend: str) -> None:
    colour, marker, dashes = style_of(backend)
    foreseen = [(each.workers, each.predicted) for each in own if each.predicted is not None]
    if foreseen:
        workers = [number for number, _ in foreseen]
        values = [estimate.value for _, estimate in foreseen]
        label = f"{backend}, predicted"
        axes.plot(workers, values, color=colour, linestyle=dashes, marker=".", label=label)
        lows = [each.low if each.low is not None else each.value for _, each in foreseen]
        highs = [each.high if each.high is not None else each.value for _, each in foreseen]
        if len(workers) > 1:
            axes.fill_between(workers, lows, highs, color=colour, alpha=0.15, linewidth=0)
    for each in own:
        if (measured := each.measured) is not None:
            axes.plot(
                [each.workers],
                [measured.value],
                marker,
                color=colour,
                markersize=7,
                label=f"{backend}, measured",
            )
            if measured.low is not None and measured.high is not None:
                axes.vlines(each.workers, measured.low, measured.high, color=colour)
