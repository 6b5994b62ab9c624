"""Figures of a run: speedup against max_workers, and cores busy over time.

A figure per shape and kernel, as wide as a phone. The same results give the same bytes: no dates, a
fixed salt for the ids in SVG, and no state of pyplot.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from matplotlib.transforms import offset_copy

from bench.analysis.estimates import Floats
from bench.analysis.summary import Group, Row
from bench.results.store import Measurement, Results
from reports.drawing import FAINT, INK, Style, drawing, is_ours, style_of

MOST_LINES = 6  # in a panel; with more, other packages have one of their own
BINS = 20  # in a curve over time
MIN_BIN_S = 0.01
SHORTEST_FOR_CPU_S = 0.02  # the system accounts CPU time in steps of a few milliseconds
LONGEST_RUN = 10  # times the shortest one; beside a longer one, nobody could see that
LEAST_BUSY = 0.1  # cores; tasks that keep fewer busy wait
WIDTH_INCHES = 4.4
PANEL_INCHES = 2.8  # height
ROWS_WITH_ROOM, ROW_INCHES = 4, 0.19  # of a legend
LINE_INCHES, LETTER_INCHES = 0.5, 0.075  # of an entry of a legend
DODGE = 1.04  # factor between the positions of two backends, so that their bars stay apart
SPREAD = 1.3  # factor between the first and the last of many
TITLE_CHARACTERS = 48  # in a line
STAR: dict[str, Any] = {"markersize": 15, "color": "#F0E442", "markeredgecolor": "black"}
QUESTION: dict[str, Any] = {"marker": "$?$", "markersize": 12, "markeredgewidth": 0.5}
QUESTION |= {"clip_on": False}  # it may be above the axes


def draw_speedup(group: Group, like: Sequence[Group], cpus: int, path: Path) -> None:
    """Speedup against max_workers of one shape and kernel, as SVG and PNG.

    It has each median with its 95 % interval, every sample as a dot, the ideal line, the bound of
    the graph itself, the CPU count, and a star at the pick or a question mark at the best guess.

    Args:
        like: groups whose figures have the same scale.
    """
    with drawing():
        parts = _parts(group)
        figure, panels = panels_of(len(parts))
        for axes, names in zip(panels, parts, strict=True):
            _speedup_panel(axes, group, names, cpus)
            _same_scale(axes, like)
        set_title(panels[0], f"Speedup of {group.name}")
        if len(panels) > 1:
            set_title(panels[1], "Other executors")
        save(figure, panels, path)


def _parts(group: Group) -> list[list[str]]:
    """The lines of each panel: if there are many, those of other packages have their own."""
    by_line = _by_line(group)
    names = list(by_line)
    ours = [name for name, rows in by_line.items() if is_ours(rows[0].case.backend)]
    others = [name for name in names if name not in ours]
    return [names] if len(names) <= MOST_LINES or not ours or not others else [ours, others]


def _speedup_panel(axes: Axes, group: Group, names: Sequence[str], cpus: int) -> None:
    counts = _counts(group)
    axes.plot(counts, counts, color=FAINT, linestyle=":", linewidth=1, label="ideal")
    finely = _finely(counts)
    bound = [group.bound(workers) for workers in finely]
    axes.plot(finely, bound, color=FAINT, linewidth=1, label="bound of the graph")
    axes.axvline(cpus, color=FAINT, linewidth=5, alpha=0.3, zorder=0, label="CPUs")
    axes.axhline(1, color=INK, linewidth=1, linestyle=(0, (6, 3)), label=group.baseline)
    by_line = _by_line(group)
    shifts = apart(names)
    for name in names:
        _curve(axes, group, by_line[name], shifts[name])
    row = group.guess or group.pick
    if len(group.measured) > 1 and row.case.line in (*names, group.baseline):
        place = row.case.workers * shifts.get(row.case.line, 1.0)
        mark_answer(axes, place, row.speedup.value, is_sure=group.guess is None)
    axes.set_xlabel("max_workers (log scale)")
    over = "" if group.pythons else f" over {group.baseline}"  # too long for a panel
    axes.set_ylabel(f"speedup{over} (log scale)")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, unless_crowded(counts))
    axes.xaxis.set_minor_locator(NullLocator())


def apart(lines: Collection[str]) -> dict[str, float]:
    """By line, the factor of its horizontal positions, so that they do not hide one another."""
    middle = (len(lines) - 1) / 2
    step = min(DODGE, SPREAD ** (1 / max(1, len(lines) - 1)))
    return {name: step ** (number - middle) for number, name in enumerate(lines)}


def mark_answer(axes: Axes, place: float, value: float, is_sure: bool, zorder: float = 1.5) -> None:
    """A star behind the pick's measurement, or a question mark above that of the best guess."""
    style = {**STAR, "marker": "*", "label": "pick", "zorder": zorder}
    if not is_sure:
        above = offset_copy(axes.transData, axes.get_figure(root=True), y=0.14)
        style |= {**QUESTION, "label": "best guess", "transform": above, "zorder": 6}
    axes.plot(place, value, linestyle="none", **style)


def _counts(group: Group) -> list[int]:
    return sorted({row.case.workers for row in group.rows} | {1})


def _finely(counts: Sequence[int]) -> list[int]:
    """The counts, and enough between them for the steps of a bound."""
    steps = range(16 * math.ceil(math.log2(counts[-1])))
    return sorted({*counts, *(min(counts[-1], round(2 ** (step / 16))) for step in steps)})


def _same_scale(axes: Axes, groups: Sequence[Group]) -> None:
    """A logarithmic scale that all of these groups fit into."""
    rows = [row for group in groups for row in group.rows]
    lows = [min(row.speedup.low or row.speedup.value, row.speedup.value) for row in rows]
    highs = [row.speedup.high or row.speedup.value for row in rows]
    bounds = [group.bound(max(_counts(group))) for group in groups]
    low, high = 0.8 * min(1, *lows), 1.25 * max(*highs, *bounds)
    scale_speedup(axes, low, high)


def scale_speedup(axes: Axes, low: float, high: float) -> None:
    """A logarithmic vertical scale with ticks at octaves and, if there are few, between them."""
    axes.set_yscale("log", base=2)
    octaves = [2.0**power for power in range(-12, 14)]
    ticks = octaves if high / low > 12 else sorted([*octaves, *(1.5 * tick for tick in octaves)])
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(low, high)
    axes.yaxis.set_minor_locator(NullLocator())


def unless_crowded(counts: Sequence[int]) -> list[str]:
    """Labels of a logarithmic axis; empty if they would touch the previous one."""
    labels: list[str] = []
    last = 0.0
    for count in counts:
        is_free = count >= last * (max(counts) ** 0.1 if max(counts) > 4 else 1)
        labels.append(str(count) if is_free else "")
        last = count if is_free else last
    return labels


def _curve(axes: Axes, group: Group, rows: Sequence[Row], shift: float) -> None:
    """The medians of a backend with their intervals, and all runs as dots.

    Args:
        shift: factor of the horizontal position, so that backends do not hide one another.
    """
    of_backend = _style_of(rows[0], group)
    colour = of_backend.colour
    workers = [row.case.workers * shift for row in rows]
    label = rows[0].case.line
    if rows[0].case.is_simulated:
        label += ", not measured"
    values = [row.speedup.value for row in rows]
    style: dict[str, Any] = {"color": colour, "markersize": 5, "linewidth": 1.2}
    style |= {"marker": of_backend.marker, "markerfacecolor": of_backend.fill}
    axes.plot(workers, values, linestyle=of_backend.dashes, label=label, **style)
    baseline_s = group.reference.median_s
    for place, row in zip(workers, rows, strict=True):
        if row.speedup.low is not None and row.speedup.high is not None:
            axes.vlines(place, row.speedup.low, row.speedup.high, color=colour, linewidth=2)
        dots = [baseline_s / wall_s for wall_s in row.wall_s]
        axes.plot([place] * len(dots), dots, ".", color=colour, alpha=0.4, markersize=4)


def draw_cores_busy(group: Group, results: Results, path: Path) -> None:
    """Cores busy over the time of a run of one shape and kernel, as SVG and PNG.

    A curve is the mean of all runs of a case, stretched to their median length: the samples of a
    single run are too coarse, because the system accounts CPU time in steps of a few milliseconds.
    For each backend it shows the case with as many workers as CPUs, or the nearest number.
    """
    cpus = int(results.header["cpus"])
    with drawing():
        figure, (axes,) = panels_of(1)
        axes.axhline(cpus, color=FAINT, linewidth=5, alpha=0.3, zorder=0, label="CPUs")
        for row in rows_over_time(group, cpus):
            runs = [run for run in results.measurements if run.case == row.case]
            _busy_curve(axes, row, runs, _style_of(row, group))
        set_title(axes, f"Cores busy in {group.name}")
        axes.set_xlabel("ms since the start")
        axes.set_ylabel("cores busy")
        axes.set_xlim(left=0)
        axes.set_ylim(0, cpus + 0.6)
        save(figure, [axes], path)


def rows_over_time(group: Group, cpus: int) -> list[Row]:
    """For each backend, the case that is drawn over time, if it computes.

    It has to last long enough, but not so long that the others would be a line at the left.
    """
    rows = [
        min(own, key=lambda row: (abs(row.case.workers - cpus), row.case.workers))
        for own in _lines(group.rows).values()
    ]
    if max(row.cores_busy for row in rows) < LEAST_BUSY:
        return []
    rows = [row for row in rows if row.median_s >= SHORTEST_FOR_CPU_S]
    longest_s = LONGEST_RUN * min((row.median_s for row in rows), default=0.0)
    return [row for row in rows if row.median_s <= longest_s]


def _busy_curve(axes: Axes, row: Row, measurements: Sequence[Measurement], style: Style) -> None:
    bins = int(min(BINS, max(1, row.median_s / MIN_BIN_S)))
    edges = np.linspace(0, 1, bins + 1)
    used_s = [_cpu_until(run, edges * run.wall_s) / run.wall_s for run in measurements]
    cores = np.diff(np.mean(used_s, axis=0)) * bins
    label = f"{row.case.where}, not measured" if row.case.is_simulated else row.case.where
    times_ms = 1e3 * row.median_s * edges
    line: dict[str, Any] = {"color": style.colour, "linestyle": style.dashes, "label": label}
    axes.stairs(cores, times_ms, baseline=None, **line)


def _cpu_until(run: Measurement, times_s: Floats) -> Floats:
    """CPU seconds used until each of the times of a run, interpolated between its samples."""
    at_s = np.array([0.0, *(at_s for at_s, _ in run.busy)])
    cores = np.array([cores for _, cores in run.busy])
    used_s = np.concatenate([[0.0], np.cumsum(cores * np.diff(at_s))])
    until_s: Floats = np.interp(times_s, at_s, used_s)
    return until_s


def _lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each backend on each Python."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(row.case.line, []).append(row)
    return lines


def _by_line(group: Group) -> dict[str, list[Row]]:
    """The same without what the speedups are measured against."""
    return _lines([row for row in group.rows if row is not group.reference])


def _style_of(row: Row, group: Group) -> Style:
    """One of its own for each backend on each Python."""
    pythons = group.pythons
    return style_of(row.case.backend, pythons.index(row.case.python) if pythons else None)


def set_title(axes: Axes, title: str) -> None:
    """A title above a panel, in as many lines as it needs."""
    text = textwrap.fill(title, TITLE_CHARACTERS)
    axes.set_title(text, loc="left", fontweight="bold", fontsize=9)


def panels_of(count: int, inches: float = PANEL_INCHES) -> tuple[Figure, list[Axes]]:
    """Panels below one another, with room for a legend.

    Args:
        inches: height of a panel.
    """
    figure = Figure(figsize=(WIDTH_INCHES, inches * count + 0.7), layout="constrained")
    grid = figure.subplots(count, 1, squeeze=False)
    return figure, list(grid.flat)


def _columns(labels: Sequence[str], inches: float) -> int:
    """The most columns in which a legend fits; it fills one after the other."""
    for columns in range(min(4, len(labels)), 1, -1):
        parts = np.array_split(np.array([len(label) for label in labels]), columns)  # as matplotlib
        longest = [max(part) for part in parts]
        if sum(LINE_INCHES + LETTER_INCHES * length for length in longest) <= inches:
            return columns
    return 1


def save(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    """Writes a figure as SVG and PNG, with one legend below all panels."""
    legend: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)
    columns = _columns(list(legend), figure.get_figwidth())
    more_rows = math.ceil(len(legend) / columns) - ROWS_WITH_ROOM
    figure.set_figheight(figure.get_figheight() + ROW_INCHES * max(0, more_rows))
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=columns, frameon=False
    )
    if (layout := figure.get_layout_engine()) is not None:  # once, for both formats
        layout.execute(figure)
        figure.set_layout_engine(None)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    FigureCanvasAgg(figure)
    figure.savefig(path.with_suffix(".png"), dpi=130, metadata={"Software": None})
