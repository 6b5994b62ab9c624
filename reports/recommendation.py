"""The figure of recommendations: predicted curves and measured points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from bench.recommend.recommendation import Candidate, Recommendation
from bench.workloads.duration import nominal
from reports.drawing import FAINT, drawing, style_of
from reports.plots import apart, mark_answer, panels_of, save, set_title, unless_crowded

MOST_PANELS = 12
LEAST_TICKS = 4


FillStyle = Literal["full", "none", "left", "right"]
FILLS: tuple[FillStyle, ...] = get_args(FillStyle)  # of the markers of each Python


def draw_recommendations(advice: Sequence[Recommendation], path: Path) -> None:
    """A panel for each of the first twelve, as SVG and PNG: time against max_workers.

    Lines and bands are predictions with their ranges; filled markers are measurements with the
    range of their runs. The star is the pick, a question mark the best guess where there is none,
    the grey line the critical path.
    """
    with drawing():
        figure, panels = panels_of(min(len(advice), MOST_PANELS), 2.6)
        for axes, recommendation in zip(panels, advice, strict=False):
            _panel(axes, recommendation)
        save(figure, panels, path)


def _panel(axes: Axes, advice: Recommendation) -> None:
    axes.axvline(advice.cpus, color=FAINT, linewidth=5, alpha=0.3, zorder=0, label="CPUs")
    if advice.span_s:
        axes.axhline(advice.span_s, color=FAINT, linewidth=1, label="critical path")
    shifts = apart({one.line: None for one in advice.candidates if one != advice.sequential})
    pythons = list(dict.fromkeys(one.python for one in advice.candidates))
    for line in dict.fromkeys(candidate.line for candidate in advice.candidates):
        own = [candidate for candidate in advice.candidates if candidate.line == line]
        fill = FILLS[pythons.index(own[0].python) % len(FILLS)]
        _curve(axes, own, shifts.get(line, 1.0), fill)
    if (best := advice.pick or advice.guess) is not None:
        place = best.workers * shifts.get(best.line, 1.0)
        mark_answer(axes, place, best.seconds, is_sure=advice.pick is not None, zorder=1)
    title = f"{advice.name}: {advice.pick or 'cannot tell'}"
    title += "" if advice.measured else ", predicted"
    set_title(axes, title)
    axes.set_ylabel("time of a run (log scale)")
    counts = sorted({candidate.workers for candidate in advice.candidates})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, unless_crowded(counts))
    axes.set_xlabel("max_workers (log scale)")
    axes.set_yscale("log")
    estimates = [
        estimate
        for candidate in advice.candidates
        for estimate in (candidate.predicted, candidate.measured)
        if estimate
    ]
    ends = [end for estimate in estimates for end in (estimate.low, estimate.value, estimate.high)]
    times = [time_s for time_s in (*ends, advice.span_s or advice.work_s) if time_s] or [1.0]
    low, high = min(times) * 0.8, max(times) * 1.25
    ticks: list[float] = []
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):  # more of them if there is room
        if len(ticks) < LEAST_TICKS:
            steps = [digit * 10.0**power for power in range(-6, 6) for digit in digits]
            ticks = [step for step in steps if low <= step <= high]
    axes.set_yticks(ticks, [nominal(float(f"{tick:.3g}")) for tick in ticks])
    axes.set_ylim(low, high)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _curve(axes: Axes, own: Sequence[Candidate], shift: float, fill: FillStyle) -> None:
    """Predictions at their numbers of workers, and measurements a little beside them."""
    name = own[0].line
    colour, marker, dashes, _ = style_of(own[0].backend)
    predicted = [
        (candidate.workers, candidate.predicted)
        for candidate in own
        if candidate.predicted is not None
    ]
    if predicted:
        workers = [number for number, _ in predicted]
        values = [estimate.value for _, estimate in predicted]
        label = f"{name}, predicted"
        axes.plot(workers, values, color=colour, linestyle=dashes, marker=".", label=label)
        lows = [value.low if value.low is not None else value.value for _, value in predicted]
        highs = [value.high if value.high is not None else value.value for _, value in predicted]
        if len(workers) > 1:
            axes.fill_between(workers, lows, highs, color=colour, alpha=0.15, linewidth=0)
    for candidate in own:
        if (measured := candidate.measured) is not None:
            axes.plot(
                [candidate.workers * shift],
                [measured.value],
                marker,
                color=colour,
                markersize=7,
                fillstyle=fill,
                label=f"{name}, measured",
            )
            if measured.low is not None and measured.high is not None:
                axes.vlines(candidate.workers * shift, measured.low, measured.high, color=colour)
