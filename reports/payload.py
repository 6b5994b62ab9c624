"""Speedup against the size of the values that tasks hand on: a figure, and the table under it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from bench.analysis.summary import Group, Row
from bench.results.case import BASELINE
from bench.workloads.payload import split
from reports.drawing import INK, drawing, style_of
from reports.markdown import interval, table
from reports.plots import panels_of, save, set_title

APART = 0.06  # between the positions of two backends


class Sweep(NamedTuple):
    """Groups that differ only in what their tasks hand on, from the smallest.

    Attributes:
        lines: by backend but sequential, a row per size: with as many workers as CPUs, or nearly.
    """

    shape: str
    kernel: str
    sizes: list[str]
    lines: dict[str, list[Row]]

    @property
    def name(self) -> str:
        return f"{self.shape}, {self.kernel}"

    @property
    def figure(self) -> str:
        """The name of its file."""
        return "payload-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") + ".svg"

    @property
    def text(self) -> str:
        """What the figure shows, for readers who cannot see it."""
        ends = ", ".join(
            f"{name} from {rows[0].speedup.value:.2f} to {rows[-1].speedup.value:.2f}"
            for name, rows in self.lines.items()
        )
        return (
            f"Speedup of {self.name} while the values grow from {self.sizes[0]} to"
            f" {self.sizes[-1]}: {ends}."
        )


def sweeps(groups: Sequence[Group], cpus: int) -> Iterator[Sweep]:
    """Those among some groups."""
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        if not group.is_own:
            alike.setdefault((group.shape, split(group.kernel)[0]), []).append(group)
    for (shape, kernel), some in alike.items():
        some.sort(key=lambda group: split(group.kernel)[1].size)
        sizes = [split(group.kernel)[1].text for group in some]
        lines = _lines(some, cpus)
        if len(some) > 1 and lines:
            yield Sweep(shape, kernel, sizes, lines)


def _lines(groups: Sequence[Group], cpus: int) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for group in groups:
        by_backend: dict[str, Row] = {}
        for row in sorted(group.measured, key=lambda row: abs(row.case.workers - cpus)):
            by_backend.setdefault(row.case.backend, row)
        for name, row in by_backend.items():
            if name != BASELINE:
                found.setdefault(name, []).append(row)
    return {name: rows for name, rows in found.items() if len(rows) == len(groups)}


def payload_section(sweep: Sweep, folder: Path) -> Iterator[str]:
    """The section of a sweep; draws its figure."""
    draw_payload(sweep, (folder / sweep.figure).with_suffix(""))
    yield f"### {sweep.name}, by the size of the values"
    yield f"![{sweep.text}]({sweep.figure})"
    titles = ["backend", "workers", *sweep.sizes]
    cells = [
        [name, str(rows[0].case.workers), *(interval(row.speedup) for row in rows)]
        for name, rows in sweep.lines.items()
    ]
    yield table(titles, cells, right_from=1)


def draw_payload(sweep: Sweep, path: Path) -> None:
    """Speedup over sequential with values of the same size, as SVG and PNG.

    Each median has its 95 % interval.
    """
    with drawing():
        figure, (axes,) = panels_of(1)
        axes.axhline(1, color=INK, linewidth=1, linestyle=(0, (6, 3)), label=BASELINE)
        lines = sweep.lines
        for number, (name, rows) in enumerate(lines.items()):
            _line(axes, name, rows, APART * (number - (len(lines) - 1) / 2))
        axes.set_xticks(range(len(sweep.sizes)), sweep.sizes)
        axes.set_xlim(-0.3, len(sweep.sizes) - 0.7)
        axes.set_yscale("log", base=2)
        low, high = axes.get_ylim()
        low, high = min(low, 0.9), max(high, 1.1)
        octaves = [2.0**power for power in range(-12, 14)]
        ticks = octaves if high / low > 12 else sorted([*octaves, *(1.5 * at for at in octaves)])
        ticks = [tick for tick in ticks if low <= tick <= high]
        axes.set_ylim(low, high)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("size of each value")
        axes.set_ylabel("speedup over sequential (log scale)")
        set_title(axes, f"Speedup of {sweep.name}, by the size of the values")
        save(figure, [axes], path)


def _line(axes: Axes, name: str, rows: Sequence[Row], shift: float) -> None:
    style = style_of(name)
    places = [place + shift for place in range(len(rows))]
    look: dict[str, Any] = {"color": style.colour, "markersize": 5, "linewidth": 1.2}
    look |= {"marker": style.marker, "markerfacecolor": style.fill, "linestyle": style.dashes}
    label = f"{name} with {rows[0].case.workers}"
    axes.plot(places, [row.speedup.value for row in rows], label=label, **look)
    for place, row in zip(places, rows, strict=True):
        if row.speedup.low is not None and row.speedup.high is not None:
            axes.vlines(place, row.speedup.low, row.speedup.high, color=style.colour, linewidth=2)
