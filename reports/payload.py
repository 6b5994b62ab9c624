"""Speedup against the size of the values that tasks hand on: a figure, and the table under it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from bench.analysis.summary import Group, Row
from bench.results.case import BASELINE
from bench.workloads.payload import Payload, split
from reports.drawing import INK, drawing, style_of
from reports.markdown import interval, table
from reports.plots import panels_of, save, scale_speedup, set_title

APART = 0.06  # between the positions of two backends


class Sweep(NamedTuple):
    """Groups that differ only in how much their tasks hand on, from the smallest.

    Attributes:
        values: what they hand on: values (bytes), or arrays.
        lines: by backend (and Python) but the baseline, a row per size: with as many workers as
            CPUs, or nearly.
        pythons: those that are compared, if there are several; the first one's sequential runs are
            the baseline.
    """

    shape: str
    kernel: str
    values: str
    sizes: list[str]
    lines: dict[str, list[Row]]
    pythons: list[str]

    @property
    def baseline(self) -> str:
        return f"{BASELINE} on {self.pythons[0]}" if self.pythons else BASELINE

    @property
    def name(self) -> str:
        return f"{self.shape}, {self.kernel}, by the size of the {self.values}"

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
            f"Speedup of {self.shape}, {self.kernel} while the {self.values} grow from"
            f" {self.sizes[0]} to {self.sizes[-1]}: {ends}."
        )


def sweeps(groups: Sequence[Group], cpus: int) -> Iterator[Sweep]:
    """Those among some groups; a group without values belongs to both kinds of them."""
    alike: dict[tuple[str, str], list[tuple[Payload, Group]]] = {}
    for group in groups:
        if not group.is_own:
            kernel, payload = split(group.kernel)
            alike.setdefault((group.shape, kernel), []).append((payload, group))
    for (shape, kernel), pairs in alike.items():
        pairs.sort(key=lambda pair: pair[0].size)
        for values, is_array in (("values", False), ("arrays", True)):
            some = [pair for pair in pairs if not pair[0].size or pair[0].is_array == is_array]
            lines = _lines([group for _, group in some], cpus)
            if len(some) > 1 and lines:
                sizes = [payload.text for payload, _ in some]
                yield Sweep(shape, kernel, values, sizes, lines, some[0][1].pythons)


def _lines(groups: Sequence[Group], cpus: int) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for group in groups:
        by_line: dict[str, Row] = {}
        for row in sorted(group.measured, key=lambda row: abs(row.case.workers - cpus)):
            by_line.setdefault(row.case.line, row)
        for name, row in by_line.items():
            if row is not group.reference:
                found.setdefault(name, []).append(row)
    return {name: rows for name, rows in found.items() if len(rows) == len(groups)}


def payload_section(sweep: Sweep, folder: Path) -> Iterator[str]:
    """The section of a sweep; draws its figure."""
    draw_payload(sweep, (folder / sweep.figure).with_suffix(""))
    yield f"### {sweep.name}"
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
        axes.axhline(1, color=INK, linewidth=1, linestyle=(0, (6, 3)), label=sweep.baseline)
        lines = sweep.lines
        for number, rows in enumerate(lines.values()):
            _line(axes, sweep, rows, APART * (number - (len(lines) - 1) / 2))
        axes.set_xticks(range(len(sweep.sizes)), sweep.sizes)
        axes.set_xlim(-0.3, len(sweep.sizes) - 0.7)
        speedups = [row.speedup for rows in lines.values() for row in rows]
        low = min(0.9, *(one.low or one.value for one in speedups)) / 1.1
        high = max(1.1, *(one.high or one.value for one in speedups)) * 1.1
        scale_speedup(axes, low, high)
        axes.set_xlabel(f"size of the {sweep.values}")
        over = "" if sweep.pythons else f" over {sweep.baseline}"
        axes.set_ylabel(f"speedup{over} (log scale)")
        set_title(axes, f"Speedup of {sweep.name}")
        save(figure, [axes], path)


def _line(axes: Axes, sweep: Sweep, rows: Sequence[Row], shift: float) -> None:
    case = rows[0].case
    style = style_of(case.backend, sweep.pythons.index(case.python) if sweep.pythons else None)
    places = [place + shift for place in range(len(rows))]
    look: dict[str, Any] = {"color": style.colour, "markersize": 5, "linewidth": 1.2}
    look |= {"marker": style.marker, "markerfacecolor": style.fill, "linestyle": style.dashes}
    label = case.where
    axes.plot(places, [row.speedup.value for row in rows], label=label, **look)
    for place, row in zip(places, rows, strict=True):
        if row.speedup.low is not None and row.speedup.high is not None:
            axes.vlines(place, row.speedup.low, row.speedup.high, color=style.colour, linewidth=2)
