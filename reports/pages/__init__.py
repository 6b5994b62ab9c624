"""The report page: plain Markdown that GitHub, MkDocs and Sphinx (MyST) render."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from bench.analysis.summary import Group, Row, Summary, summarise
from bench.results.case import BASELINE
from bench.results.store import FILE_NAME, Results
from bench.workloads.duration import shown
from reports.account import account_section, stack_section
from reports.html import write_html
from reports.markdown import interval, table
from reports.pages.glossary import GLOSSARY
from reports.pages.machine import facts_of, machine_section, python_cells, python_section
from reports.payload import payload_section, sweeps
from reports.plots import (
    LEAST_BUSY,
    SHORTEST_FOR_CPU_S,
    draw_cores_busy,
    draw_speedup,
    rows_over_time,
)

PAGE_NAME = "report.md"
STAR, GUESS = "★", "?"
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
    slugs = _slugs(groups)
    for shape in dict.fromkeys(group.shape for group in groups):
        same = [group for group in groups if group.shape == shape]
        parts.append(_shape(shape, results.header["shapes"][shape]))
        parts += _own(results.header.get("graphs", {}).get(shape, {}))
        for group in same:
            parts += _group(group, same, results, folder, slugs[group.name])
        for sweep in sweeps(same, cpus):
            parts += payload_section(sweep, folder)
    parts += [_method(results, cpus), machine_section(results), *python_section(results)]
    parts.append(_reproduction(results))
    parts.append(_glossary())
    page = folder / PAGE_NAME
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_html(
        summary,
        folder,
        slugs,
        bounds={group.name: _bound(group) for group in groups},
        machine=[
            *facts_of(results),
            *([f"Python {label}", ", ".join(cells)] for label, *cells in python_cells(results)),
        ],
        blocks=f"{_blocks(results)}.",
        baseline=_baseline(results),
        glossary=GLOSSARY,
    )
    return page


def _glossary() -> str:
    lines = [
        textwrap.fill(f"- **{term}**: {text}", 100, subsequent_indent="  ", break_on_hyphens=False)
        for term, text in GLOSSARY
    ]
    return "\n".join(["## Glossary", "", *lines])


def _opening(summary: Summary) -> str:
    """The answer; a machine that was not quiet comes first, because it makes the rest doubtful."""
    lines = ["# Which executor, and how many workers?"]
    if not summary.verdict.is_clean:
        lines.append(f"**{summary.verdict}**")
    lines.append(f"**{summary.finding}**")
    if summary.shortfall is not None:
        lines.append(summary.shortfall)
    if summary.verdict.is_clean:
        lines.append(str(summary.verdict))
    lines.append(_recommendation(summary.groups))
    if any(group.guess is not None for group in summary.groups):
        lines.append(f"{GUESS} marks a best guess: the runs do not decide.")
    lines.append("The terms are explained in the [glossary](#glossary).")
    return "\n\n".join(lines)


def _slugs(groups: Sequence[Group]) -> dict[str, str]:
    """By name of a group, what the files of its figures are called; no two are the same."""
    slugs: dict[str, str] = {}
    for group in groups:
        plain = re.sub(r"[^a-z0-9]+", "-", group.name.lower()).strip("-") or "graph"
        numbered = chain([plain], (f"{plain}-{number}" for number in count(2)))
        slugs[group.name] = next(slug for slug in numbered if slug not in slugs.values())
    return slugs


def _recommendation(groups: Sequence[Group]) -> str:
    """For each shape and kernel, the fewest workers reliably within 5 % of the fastest."""
    rows = []
    for group in groups:
        best = group.guess or group.pick
        rival = group.rival
        other = "" if rival is None else f"{rival.case.where}: {interval(rival.speedup)}"
        where = f"{_mark(best, group)} {best.case.where}"
        own = "own tasks" if group.is_own else group.kernel
        rows.append([group.shape, own, where, interval(best.speedup), other])
    titles = ["graph", "tasks", "pick", "speedup (95 % interval)", "best other backend"]
    return table(titles, rows)


def _mark(row: Row, group: Group) -> str:
    """The star of the pick, or the question mark of a best guess."""
    if row is not (group.guess or group.pick):
        return ""
    return STAR if group.guess is None else GUESS


def _shape(shape: str, sizes: dict[str, Any]) -> str:
    return (
        f"## {shape}\n\n{sizes['tasks']} tasks, {sizes['edges']} edges, depth {sizes['depth']},"
        f" width {sizes['width']}, average parallelism {sizes['average_parallelism']:g}."
    )


def _own(trial: Mapping[str, Any]) -> Iterator[str]:
    """What the first runs of the user's own graph showed."""
    for remark in trial.get("remarks", {}).values():
        yield f"Beware: {remark}"
    for backend, reason in trial.get("left_out", {}).items():
        yield f"It does not run on {backend}, which is left out: {reason.partition(chr(10))[0]}"


def _group(
    group: Group, same: Sequence[Group], results: Results, folder: Path, slug: str
) -> Iterator[str]:
    """The section of a shape and kernel; draws its figures.

    Args:
        same: the groups of the same shape, whose figures have the same scale.
        slug: for the names of its figures.
    """
    cpus = int(results.header["cpus"])
    draw_speedup(group, same, cpus, folder / f"speedup-{slug}")
    yield f"### {group.shape}, {group.kernel}"
    yield _bound(group)
    if group.ceilings:
        yield _ceilings(group)
    yield f"![{_speedup_text(group)}](speedup-{slug}.svg)"
    what = "stack" if group.stacks else "backend"
    own = [f"over its own {BASELINE}"] if group.pythons else []
    titles = [what, *_python(group, "Python"), "workers", "median time"]
    titles += ["speedup (95 % interval)", *own, "cores busy"]
    numbers_from = len(titles) - 4 - len(own)
    yield table(titles, [_cells(row, group) for row in group.rows], right_from=numbers_from)
    if group.sharing:
        yield " ".join(group.sharing)
    if any(row.case.is_simulated for row in group.rows):
        yield SIMULATED_NOTE
    has_ceiling = any(row.of_ceiling is not None for row in group.rows)
    if group.stacks:
        yield from stack_section(group.stacks)
    titles = [what, *_python(group, "Python"), "workers", "cold speedup", "efficiency"]
    titles += ["of the ceiling"] if has_ceiling else []
    titles += ["utilisation"]
    rows = [_details(row, group, has_ceiling) for row in group.rows if not row.case.is_simulated]
    yield table(titles, rows, right_from=titles.index("workers"))
    yield from account_section(group)
    yield from _fits(group)
    over_time = rows_over_time(group, cpus)
    if over_time:
        draw_cores_busy(group, results, folder / f"cores-busy-{slug}")
        yield f"![{_busy_text(group, over_time)}](cores-busy-{slug}.svg)"
    elif max(row.cores_busy for row in group.rows) < LEAST_BUSY:
        yield f"The tasks wait: fewer than {LEAST_BUSY:g} cores are busy."


def _bound(group: Group) -> str:
    """What the graph itself allows: with any number of workers, and with those of the pick."""
    most = f"at most {group.bound():.2f}, however many workers there are"
    if group.is_own:
        limit = f"the longest chain limits the speedup to about {group.bound():.2f}"
        text = f"With the task times of a trial run, {limit}"
    elif group.parallelism is not None:
        text = f"With the recorded times, the longest chain limits the speedup, which is {most}"
    else:
        longest = f"The longest chain has {group.depth} of the {group.tasks} tasks"
        text = f"{longest}, so with equal tasks the speedup is {most}"
    workers = (group.guess or group.pick).case.workers
    bound = group.bound(workers)
    if 1 < bound < group.bound():
        text += f", and {bound:.2f} with {workers}"
    return f"{text} (over the same Python)." if group.pythons else f"{text}."


def _python(group: Group, text: str) -> list[str]:
    """A cell of a column that there is only if several Pythons are compared."""
    return [text] if group.pythons else []


def _cells(row: Row, group: Group) -> list[str]:
    name = f"*{row.case.name}, not measured*" if row.case.is_simulated else row.case.name
    return [
        f"{_mark(row, group)} {name}".strip(),
        *_python(group, row.case.python),
        str(row.case.workers),
        shown(row.median_s),
        "1.00" if row is group.reference else interval(row.speedup),
        *_python(group, "1.00" if row.case.is_baseline else interval(row.own)),
        _unless_short(row, f"{row.cores_busy:.2f}"),
    ]


def _details(row: Row, group: Group, has_ceiling: bool) -> list[str]:
    of_ceiling = "" if row.of_ceiling is None else f"{100 * row.of_ceiling:.0f} %"
    return [
        row.case.name,
        *_python(group, row.case.python),
        str(row.case.workers),
        "1.00" if row is group.reference else interval(row.cold),
        f"{100 * row.efficiency:.0f} %",
        *([of_ceiling] if has_ceiling else []),
        _unless_short(row, f"{100 * row.utilisation:.0f} %"),
    ]


def _unless_short(row: Row, text: str) -> str:
    return text if row.median_s >= SHORTEST_FOR_CPU_S else "too short"


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


def _speedup_text(group: Group) -> str:
    """Alternative text: what the figure shows, for readers who cannot see it."""
    best = group.guess or group.pick
    what = "pick" if group.guess is None else "best guess"
    faster = f"{best.speedup.value:.2f} times as fast as {group.baseline}"
    found = f"the {what} is {best.case.where}, {faster}"
    return f"Speedup of {group.name} against max_workers: {found}."


def _busy_text(group: Group, rows: Sequence[Row]) -> str:
    means = ", ".join(f"{row.cores_busy:.2f} on {row.case.where}" for row in rows)
    return f"Cores busy over the time of a run of {group.name}; on average, {means}."


def _method(results: Results, cpus: int) -> str:
    config = results.header["config"]
    base = next(
        (
            run.case.line
            for run in results.measurements
            if run.case.is_baseline and run.python == results.reference
        ),
        "none",
    )
    return f"""## How it was measured

- The speedup is the median wall time of {_baseline(results)} divided by that of the case, with
  workers that are started and warm. The bar is its 95 % bootstrap interval, and a dot is one run.
- The star marks the pick: the case with the fewest workers that is reliably within 5 % of the
  fastest, or else the fastest. If no case is reliably faster than {base}, {base} is picked.
  A question mark is a best guess: another case may be more than a fifth faster than the pick (5 %
  faster than {base}), there are fewer than 5 blocks, or the machine was unusable.
- {_blocks(results)}; each block has every case once, in random order (seed {config["seed"]}).
- The grey vertical bar of a figure is at the CPU count, {cpus}.
- Cores busy and utilisation come from the CPU clocks of the whole process tree, which another
  process reads. Runs of less than 20 ms are too short for both.
- Amdahl (1967) and USL (Gunther 1993) are fitted by least squares with parameters >= 0."""


def _baseline(results: Results) -> str:
    """What the speedups are measured against, in words."""
    if any(run.case.is_stack for run in results.measurements):
        return "the stack default"
    on = f" on Python {results.reference}" if results.reference else ""
    return f"the sequential backend{on}"


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


def _reproduction(results: Results) -> str:
    return f"""## How to reproduce

```console
$ {results.header["config"]["command"]}
```

Every sample is in `{FILE_NAME}`; `bench report` draws this page from it again."""
