"""Figures: speedup against max_workers, and cores busy over time.

Small multiples, one panel per kernel. The same results give the same bytes: no dates, a fixed salt
for the ids in SVG, and no state of pyplot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.analysis.estimates import Floats
from bench.analysis.summary import Group, Row
from bench.results.case import BASELINE
from bench.results.store import Measurement, Results
from reports.drawing import drawing

# Okabe and Ito's palette, which colour-blind readers can distinguish; dashes and markers help, too.
STYLES = {
    "threads": ("#0072B2", "o", "-"),
    "processes": ("#D55E00", "s", "--"),
    BASELINE: ("#444444", "D", "-"),
    "simulated": ("#009E73", "", ":"),
}
MORE_STYLES = [
    ("#009E73", "^", "-."),
    ("#CC79A7", "v", ":"),
    ("#56B4E9", "P", "-"),
    ("#E69F00", "X", "--"),
]
MUTED = "#777777"
BINS = 20  # in a curve over time
MIN_BIN_S = 0.01
SHORTEST_FOR_CPU_S = 0.02  # the system accounts CPU time in steps of a few milliseconds
PANEL_INCHES = (3.4, 3.0)
MIN_WIDTH = 5.0
LEGEND_INCHES = 1.55  # width of an entry


def draw_speedup(groups: Sequence[Group], cpus: int, folder: Path, name: str) -> None:
    """Speedup against max_workers for the kernels of one shape, as SVG and PNG.

    Each panel has the median and its 95 % band, every sample as a dot, the ideal line, the bound
    of the graph itself, the CPU count, and a star at the pick.
    """
    with drawing():
        figure, panels = panels_of(len(groups))
        for axes, group in zip(panels, groups, strict=True):
            _speedup_panel(axes, group, cpus)
        panels[0].set_ylabel("speedup over sequential (log scale)")
        figure.suptitle(f"Speedup of {groups[0].shape}", x=0.02, ha="left", fontweight="bold")
        save(figure, panels, folder / name)


def _speedup_panel(axes: Axes, group: Group, cpus: int) -> None:
    counts = sorted({row.case.workers for row in group.rows} | {1})
    axes.plot(counts, counts, color=MUTED, linestyle=":", linewidth=1, label="ideal")
    steps = range(16 * math.ceil(math.log2(counts[-1])))
    finely = sorted({*counts, *(min(counts[-1], round(2 ** (step / 16))) for step in steps)})
    bound = [group.bound(workers) for workers in finely]
    axes.plot(finely, bound, color=MUTED, linewidth=1, label="bound of the graph")
    axes.axvline(cpus, color="#BBBBBB", linewidth=5, alpha=0.5, zorder=0, label="CPUs")
    for backend, rows in _by_backend(group.rows).items():
        _curve(axes, group, rows, backend)
    if len(group.measured) > 1:  # else there was nothing to pick from
        star: dict[str, Any] = {"markersize": 15, "color": "#F0E442", "markeredgecolor": "black"}
        at = [group.pick.case.workers], [group.pick.speedup.value]
        axes.plot(*at, marker="*", linestyle="none", zorder=5, label="pick", alpha=0.9, **star)
    axes.set_title(group.kernel, loc="left")
    axes.set_xlabel("max_workers (log scale)")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, unless_crowded(counts))
    lows = [row.speedup.low or row.speedup.value for row in group.rows]
    highs = [row.speedup.high or row.speedup.value for row in group.rows]
    low, high = 0.8 * min(1, *lows), 1.25 * max(*highs, *bound)
    axes.set_yscale("log", base=2)
    octaves = [2.0**power for power in range(-12, 14)]
    ticks = octaves if high / low > 12 else sorted([*octaves, *(1.5 * tick for tick in octaves)])
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(low, high)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())


def unless_crowded(counts: Sequence[int]) -> list[str]:
    """Labels of a logarithmic axis; empty if they would touch the previous one."""
    labels: list[str] = []
    last = 0.0
    for count in counts:
        is_free = count >= last * (max(counts) ** 0.1 if max(counts) > 4 else 1)
        labels.append(str(count) if is_free else "")
        last = count if is_free else last
    return labels


def _curve(axes: Axes, group: Group, rows: Sequence[Row], backend: str) -> None:
    colour, marker, dashes = style_of(backend)
    workers = [row.case.workers for row in rows]
    values = [row.speedup.value for row in rows]
    label = f"{backend}, not measured" if rows[0].case.is_simulated else backend
    axes.plot(
        workers, values, color=colour, marker=marker, markersize=5, linestyle=dashes, label=label
    )
    if all(row.speedup.has_interval for row in rows):
        lows = [row.speedup.low for row in rows]
        highs = [row.speedup.high for row in rows]
        if len(rows) > 1:
            axes.fill_between(workers, lows, highs, color=colour, alpha=0.2, linewidth=0)  # type: ignore[arg-type]
        else:
            axes.vlines(workers, lows, highs, color=colour, alpha=0.4, linewidth=4)  # type: ignore[arg-type]
    baseline_s = next(row.median_s for row in group.rows if row.case.backend == BASELINE)
    for row in rows:
        dots = [baseline_s / wall_s for wall_s in row.wall_s]
        axes.plot([row.case.workers] * len(dots), dots, ".", color=colour, alpha=0.45, markersize=4)


def draw_cores_busy(groups: Sequence[Group], results: Results, folder: Path, name: str) -> None:
    """Cores busy over the time of a run for the kernels of one shape, as SVG and PNG.

    A curve is the mean of all runs of a case, stretched to their median length: the samples of a
    single run are too coarse, because the system accounts CPU time in steps of a few milliseconds.
    For each backend it shows the case with as many workers as CPUs, or the nearest number.
    """
    cpus = int(results.header["cpus"])
    with drawing():
        figure, panels = panels_of(len(groups))
        for axes, group in zip(panels, groups, strict=True):
            axes.axhline(cpus, color="#BBBBBB", linewidth=5, alpha=0.5, zorder=0, label="CPUs")
            for rows in _by_backend(group.rows).values():
                row = min(rows, key=lambda row: (abs(row.case.workers - cpus), row.case.workers))
                runs = [run for run in results.measurements if run.case == row.case]
                _busy_curve(axes, row, runs)
            axes.set_title(group.kernel, loc="left")
            axes.set_xlabel("ms since the start")
            axes.set_xlim(left=0)
            axes.set_ylim(0, cpus + 0.6)
        panels[0].set_ylabel("cores busy")
        title = f"Cores busy in {groups[0].shape}"
        figure.suptitle(title, x=0.02, ha="left", fontweight="bold")
        save(figure, panels, folder / name)


def _busy_curve(axes: Axes, row: Row, measurements: Sequence[Measurement]) -> None:
    if row.median_s < SHORTEST_FOR_CPU_S:
        axes.text(0.5, 0.9, "runs are too short", transform=axes.transAxes, ha="center")
        return
    bins = int(min(BINS, max(1, row.median_s / MIN_BIN_S)))
    edges = np.linspace(0, 1, bins + 1)
    used_s = [_cpu_until(run, edges * run.wall_s) / run.wall_s for run in measurements]
    cores = np.diff(np.mean(used_s, axis=0)) * bins
    colour, _, dashes = style_of(row.case.backend)
    label = _label(row)
    times_ms = 1e3 * row.median_s * edges
    axes.stairs(cores, times_ms, color=colour, linestyle=dashes, baseline=None, label=label)


def _cpu_until(run: Measurement, times_s: Floats) -> Floats:
    """CPU seconds used until each of the times of a run, interpolated between its samples."""
    at_s = np.array([0.0, *(at_s for at_s, _ in run.busy)])
    cores = np.array([cores for _, cores in run.busy])
    used_s = np.concatenate([[0.0], np.cumsum(cores * np.diff(at_s))])
    until_s: Floats = np.interp(times_s, at_s, used_s)
    return until_s


def _label(row: Row) -> str:
    backend, workers = row.case.backend, row.case.workers
    plural = "s" * (workers > 1)
    label = f"{backend}, {workers} worker{plural}"
    if row.case.is_simulated:
        return f"{label}, not measured"
    return backend if backend == BASELINE else label


def _by_backend(rows: Sequence[Row]) -> dict[str, list[Row]]:
    by_backend: dict[str, list[Row]] = {}
    for row in rows:
        by_backend.setdefault(row.case.backend, []).append(row)
    return by_backend


def style_of(backend: str) -> tuple[str, str, str]:
    """Colour, marker and dashes of a backend, the same in all figures."""
    return STYLES.get(backend) or MORE_STYLES[sum(backend.encode()) % len(MORE_STYLES)]


def panels_of(count: int) -> tuple[Figure, list[Axes]]:
    """Panels in rows of three, with room for a title above and a legend below."""
    columns = min(3, count)
    rows = -(-count // columns)
    width = max(MIN_WIDTH, PANEL_INCHES[0] * columns + 0.4)
    figure = Figure(figsize=(width, PANEL_INCHES[1] * rows + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for unused in panels[count:]:
        unused.set_visible(False)
    return figure, panels[:count]


def save(
    figure: Figure, panels: Sequence[Axes], path: Path, legend_inches: float = LEGEND_INCHES
) -> None:
    """Writes a figure as SVG and PNG, with one legend below all panels.

    Args:
        legend_inches: width of an entry of the legend.
    """
    legend: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)
    columns = max(1, min(len(legend), int(figure.get_figwidth() / legend_inches)))
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=columns, frameon=False
    )
    if (layout := figure.get_layout_engine()) is not None:  # once, for both formats
        layout.execute(figure)
        figure.set_layout_engine(None)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    FigureCanvasAgg(figure)
    figure.savefig(path.with_suffix(".png"), dpi=130, metadata={"Software": None})
