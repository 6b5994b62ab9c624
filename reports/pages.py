"""The report page: plain Markdown that GitHub, MkDocs and Sphinx (MyST) all render."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.analysis.summary import Group, Row, Summary, summarise
from bench.results.store import FILE_NAME, Results
from bench.workloads.duration import shown
from reports.markdown import interval, table
from reports.plots import SHORTEST_FOR_CPU_S, draw_cores_busy, draw_speedup

PAGE_NAME = "report.md"
SIMULATED_NOTE = (
    "Simulated rows were not measured: they are the time of list scheduling on as many cores as"
    " workers, with tasks as long as in the sequential run of the same block and no time for a"
    " scheduler."
)


def write_report(results: Results | Summary, folder: Path) -> Path:
    """Draws the figures and writes the page; the same results give the same bytes.

    Args:
        results: the content of a results file, or its summary.
        folder: created if it is missing; figures and page in it are replaced.

    Returns:
        The path of the page.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = results if isinstance(results, Summary) else summarise(results)
    groups, results, cpus = summary.groups, summary.results, summary.cpus
    parts = [_opening(summary)]
    for shape in dict.fromkeys(group.shape for group in groups):
        same = [group for group in groups if group.shape == shape]
        slug = re.sub(r"[^a-z0-9]+", "-", shape)
        draw_speedup(same, cpus, folder, f"speedup-{slug}")
        draw_cores_busy(same, results, folder, f"cores-busy-{slug}")
        parts.append(_shape(shape, slug, same, results.header["shapes"][shape], cpus))
    parts += [_method(results, cpus), _machine(results), _reproduction(results)]
    page = folder / PAGE_NAME
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def _opening(summary: Summary) -> str:
    lines = ["# Which executor, and how many workers?", f"**{summary.finding}**"]
    if summary.shortfall is not None:
        lines.append(summary.shortfall)
    lines.append(str(summary.verdict))
    lines.append(_recommendation(summary.groups))
    return "\n\n".join(lines)


def _recommendation(groups: Sequence[Group]) -> str:
    """For each shape and kernel, the fewest workers reliably within 5 % of the fastest."""
    rows = []
    for group in groups:
        pick = group.pick
        rival = group.rival
        other = "" if rival is None else f"{_name(rival)}: {interval(rival.speedup)}"
        rows.append([group.shape, group.kernel, _name(pick), interval(pick.speedup), other])
    titles = [
        "shape",
        "tasks",
        "pick",
        "speedup (95 % interval)",
        "best other backend",
    ]
    return table(titles, rows)


def _shape(shape: str, slug: str, groups: Sequence[Group], sizes: dict[str, Any], cpus: int) -> str:
    parts = [
        f"## {shape}",
        f"{sizes['tasks']} tasks, {sizes['edges']} edges, depth {sizes['depth']},"
        f" width {sizes['width']}, average parallelism {sizes['average_parallelism']:g}.",
        f"![{_speedup_text(groups)}](speedup-{slug}.svg)",
    ]
    titles = [
        "backend",
        "workers",
        "median time",
        "speedup, warm (95 % interval)",
        "cold",
        "efficiency",
        "of the ceiling",
        "cores busy",
        "utilisation",
    ]
    for group in groups:
        parts.append(f"### {shape}, {group.kernel}")
        parts.append(_bound(group))
        if group.ceilings:
            parts.append(_ceilings(group))
        parts.append(table(titles, [_cells(row) for row in group.rows], right_from=1))
        if any(row.case.is_simulated for row in group.rows):
            parts.append(SIMULATED_NOTE)
        parts += _fits(group)
    parts.append(f"### {shape}, cores busy over time")
    parts.append(f"![{_busy_text(groups, cpus)}](cores-busy-{slug}.svg)")
    return "\n\n".join(parts)


def _bound(group: Group) -> str:
    """What the graph itself allows."""
    most = f"at most {group.bound():.2f}, however many workers there are."
    if group.parallelism is not None:
        return f"With the recorded times, the critical path limits the speedup, which is {most}"
    longest = f"The longest chain has {group.depth} of the {group.tasks} tasks"
    return f"{longest}, so with equal tasks the speedup is {most}"


def _cells(row: Row) -> list[str]:
    is_long = row.median_s >= SHORTEST_FOR_CPU_S
    return [
        f"*{row.case.backend}, not measured*" if row.case.is_simulated else row.case.backend,
        str(row.case.workers),
        shown(row.median_s),
        interval(row.speedup),
        f"{row.cold.value:.2f}",
        f"{100 * row.efficiency:.0f} %",
        "" if row.of_ceiling is None else f"{100 * row.of_ceiling:.0f} %",
        f"{row.cores_busy:.2f}" if is_long else "too short",
        f"{100 * row.utilisation:.0f} %" if is_long else "too short",
    ]


def _ceilings(group: Group) -> str:
    """What the machine reaches without a scheduler."""
    reached = ", ".join(
        f"{count} are {interval(estimate)} times as fast as one"
        for count, estimate in group.ceilings.items()
        if count > 1
    )
    return f"Ceiling: independent processes without a scheduler; {reached}."


def _fits(group: Group) -> list[str]:
    """Amdahl's law and the USL through the times of each backend."""
    if not group.fits:
        return []
    lines = [
        f"- {backend}: Amdahl's serial fraction {fits.serial}; USL contention {fits.contention},"
        f" coherency {fits.coherency}"
        for backend, fits in group.fits.items()
    ]
    lead = "Curves fitted to these times, with 95 % intervals (no pick depends on them):"
    return ["\n".join([lead, "", *lines])]


def _speedup_text(groups: Sequence[Group]) -> str:
    """Alternative text: what the figure shows, for readers who cannot see it."""
    best = "; ".join(
        f"{group.kernel}: the pick is {_name(group.pick)}, {group.pick.speedup.value:.2f} times"
        for group in groups
    )
    return f"Speedup of {groups[0].shape} against max_workers. {best}."


def _busy_text(groups: Sequence[Group], cpus: int) -> str:
    means = {
        group.kernel: ", ".join(
            f"{row.cores_busy:.2f} on {_name(row)}"
            for row in group.rows
            if (row.case.workers == cpus or row.case.is_baseline)
            and row.median_s >= SHORTEST_FOR_CPU_S
        )
        for group in groups
    }
    rows = "; ".join(f"{kernel}: {busy}" for kernel, busy in means.items() if busy)
    lead = f"Cores busy over the time of a run of {groups[0].shape}"
    return f"{lead}, without runs that are too short." + (f" On average, {rows}." if rows else "")


def _method(results: Results, cpus: int) -> str:
    config = results.header["config"]
    return f"""## How it was measured

- The speedup is the median wall time of the sequential backend divided by that of the case, with
  workers that are started and warm. The band is its 95 % bootstrap interval, and a dot is one run.
- The star marks the pick: the case with the fewest workers that is reliably within 5 % of the
  fastest, or else the fastest. If no case is reliably faster than sequential, sequential is picked.
- {_blocks(results)}; each block has every case once, in random order (seed {config["seed"]}).
- The bound of the graph is the largest possible speedup on p workers: tasks / max(ceil(tasks / p),
  depth) with equal tasks, and work / max(work / p, span) with recorded times, where the span is the
  length of the critical path. The grey vertical bar is at the CPU count, {cpus}.
- Cores busy and utilisation come from the CPU clocks of the whole process tree, which another
  process reads. Utilisation is CPU time / (workers x wall time). Runs of less than 20 ms are too
  short for both.
- The cold speedup includes the start of the pool; threads start when they are first needed.
- Efficiency is the warm speedup divided by the number of cores that the workers can use or, if
  tasks wait, by the number of workers. "Of the ceiling" is the warm speedup divided by the ceiling:
  the combined speed of independent processes on as many cores, in plain loops without a scheduler,
  measured in each block.
- Amdahl (1967) and USL (Gunther 1993) are fitted by least squares with parameters >= 0."""


def _blocks(results: Results) -> str:
    """Their number, and why there are not more."""
    blocks = len({run.block for run in results.measurements})
    why = {
        "complete": "",
        "budget": ", as many as fitted into the budget",
        "precision": ", until the intervals were narrow enough",
        None: f" of {results.header['config']['blocks']} so far",
    }
    return f"{blocks} block{'s' * (blocks != 1)} measured{why.get(results.end, '')}"


def _machine(results: Results) -> str:
    machine, versions = results.header["machine"], results.header["versions"]
    limits = ", ".join(
        f"{key} {value}" for key, value in machine["cpus"].items() if value is not None
    )
    blas = {value for value in machine["blas_threads"].values() if value is not None}
    created = datetime.fromtimestamp(results.header["created_s"], UTC)
    kernels = ", ".join(
        f"{name}: {kernel['units']:g}" for name, kernel in results.header["kernels"].items()
    )
    rows = [
        ["measured", f"{created:%Y-%m-%d %H:%M} UTC"],
        ["system", f"{machine['system']}, {machine['architecture']}"],
        ["CPU", str(machine["cpu"])],
        ["CPUs", limits],
        ["memory", f"{machine['memory_bytes'] / 1e9:.1f} GB"],
        ["load before", _load(machine)],
        ["BLAS threads per worker", ", ".join(sorted(blas)) or "not limited"],
        ["kernels, units of work per task", kernels],
        *([name, str(value)] for name, value in versions.items()),
    ]
    return "## Machine\n\n" + table(["what", "value"], rows)


def _load(machine: dict[str, Any]) -> str:
    others = machine["others_running"]
    running = "" if others is None else f", {others:.1f} other processes running"
    return f"{machine['load_1min']:g} over a minute{running}"


def _reproduction(results: Results) -> str:
    return f"""## How to reproduce

```console
$ {results.header["config"]["command"]}
```

Every sample is in `{FILE_NAME}`; `bench report` draws this page from it again."""


def _name(row: Row) -> str:
    if row.case.is_baseline:
        return row.case.backend
    return f"{row.case.backend} with {row.case.workers}"
