"""The report as one HTML file: answers, speedups, where the time went, timelines.

The file needs nothing else, no network and no server. The template is `report.html.j2`; the script
draws the timelines from the JSON that is beside them. The same results give the same bytes.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from bench.analysis.losses.account import Account, Part
from bench.analysis.losses.what_if import ideal_timeline
from bench.analysis.summary import Group, Summary
from bench.results.timelines import UNKNOWN, GraphTasks, Span, Timeline
from bench.workloads.duration import shown
from reports.account import COLUMNS, STACK_NOTE, STACK_TITLES, TITLES, detail, stack_cells
from reports.markdown import interval
from reports.payload import sweeps

PAGE_NAME = "report.html"
HERE = Path(__file__).parent
MOST_LINES = 20  # of a table of attempts

# What the bars show, by CSS class: the title, and the parts of the account that it adds up.
BARS = {
    **{str(part): (TITLES[part], (part,)) for part in Part if part not in COLUMNS["overhead"]},
    "overhead": ("handing over, return, retries, start and end", COLUMNS["overhead"]),
}


@dataclass(frozen=True, slots=True)
class Line:
    """An attempt, as a line of a table."""

    name: str
    worker: str
    started_s: float
    ended_s: float
    ran_s: float
    cpu_s: float | None
    waited_for: str


@dataclass(frozen=True, slots=True)
class Timelines:
    """What the page has of a group's timelines.

    Attributes:
        json: tasks and runs, for the script.
        titles: of the runs.
        first, second: the runs that are shown at first; the second one may be None.
        cut: how many tasks were not kept.
        ideal_s: what a simulated run on as many workers without overhead takes, if it is known.
        path, longest: attempts of the first run: its critical path in order, and the longest ones;
            at most `MOST_LINES` of each.
        path_length: how many there are on the path.
    """

    json: Markup
    titles: list[str]
    first: int
    second: int | None
    kinds: list[str]
    tasks: int
    cut: int
    ideal_s: float | None
    path: list[Line]
    path_length: int
    longest: list[Line]


def write_html(
    summary: Summary,
    folder: Path,
    slugs: Mapping[str, str],
    bounds: Mapping[str, str],
    machine: Sequence[Sequence[str]],
    blocks: str,
    baseline: str,
    glossary: Sequence[tuple[str, str]],
) -> Path:
    """Writes the page beside the figures; returns its path.

    Args:
        slugs: by name of a group, what its figures are called.
        bounds: by name of a group, what the graph allows, in a sentence.
        machine: names and values.
        blocks: how many blocks were measured.
        baseline: what the speedups are measured against, in words.
        glossary: terms and what they mean.
    """
    timelines = {group.name: _timelines(group, summary) for group in summary.groups}
    found = list(sweeps(summary.groups, summary.cpus))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string((HERE / "report.html.j2").read_text(encoding="utf-8")).render(
        summary=summary,
        slugs=slugs,
        bounds=bounds,
        curves={
            group.name: _data_uri(folder / _curve(slugs[group.name])) for group in summary.groups
        },
        accounts={group.name: _bars(group) for group in summary.groups},
        negative={group.name: _has_negative(group) for group in summary.groups},
        details={group.name: detail(group) for group in summary.groups},
        parts={name: title for name, (title, _) in BARS.items()},
        timelines=timelines,
        has_timelines=any(timelines.values()),
        sweeps=found,
        figures={sweep.name: _data_uri(folder / sweep.figure) for sweep in found},
        interval=interval,
        command=summary.results.header["config"]["command"],
        blocks=blocks,
        baseline=baseline,
        base=summary.groups[0].baseline if summary.groups else "",
        stack_titles=STACK_TITLES,
        stack_cells=stack_cells,
        stack_note=STACK_NOTE,
        machine=machine,
        glossary=glossary,
        shown=shown,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "timeline.js").read_text(encoding="utf-8")),
    )
    path = folder / PAGE_NAME
    path.write_text(page + "\n", encoding="utf-8")
    return path


def _curve(slug: str) -> str:
    return f"speedup-{slug}.svg"


def _data_uri(figure: Path) -> str:
    return f"data:image/svg+xml;base64,{b64encode(figure.read_bytes()).decode()}"


def _bars(group: Group) -> list[tuple[str, dict[str, float]]]:
    """A bar for each case: its title, and its parts by their classes."""
    return [
        (row.case.where, {name: _share(row.account, parts) for name, (_, parts) in BARS.items()})
        for row in group.rows
        if row.account is not None and not row.case.is_baseline
    ]


def _share(account: Account, parts: Sequence[Part]) -> float:
    return sum(account.shares[part].value for part in parts)


def _has_negative(group: Group) -> bool:
    return any(round(share, 2) < 0 for _, shares in _bars(group) for share in shares.values())


def _timelines(group: Group, summary: Summary) -> Timelines | None:
    """The runs of a group; at first the pick and the best other backend, or else an ideal run."""
    by_case = {
        line.case: line
        for line in summary.results.timelines
        if (line.shape, line.kernel) == (group.shape, group.kernel)
    }
    tasks = next((one for one in summary.results.graphs if one.shape == group.shape), None)
    if not by_case or tasks is None:
        return None
    cases = [row.case for row in group.rows if row.case in by_case]
    titles = [case.where for case in cases]
    lines = [by_case[case] for case in cases]
    best = (group.guess or group.pick).case
    alone = best.baseline
    ideal_s = None
    if alone in by_case and best.workers > 1 and len(tasks.names) == tasks.tasks:
        titles.append(f"simulated: ideal with {best.workers}")
        lines.append(ideal_timeline(tasks, by_case[alone], best.workers))
        ideal_s = lines[-1].end / 1e6
    first = cases.index(best) if best in cases else 0
    second = len(cases) if ideal_s is not None else None  # the ideal run, or nothing
    if group.rival is not None and group.rival.case in cases:
        second = cases.index(group.rival.case)
    path = critical_path(tasks, lines[first])
    longest = sorted(lines[first].spans, key=lambda span: (span.started - span.ended, span.task))
    return Timelines(
        json=_json(tasks, titles, lines),
        titles=titles,
        first=first,
        second=second,
        kinds=tasks.kinds,
        tasks=tasks.tasks,
        cut=tasks.tasks - len(tasks.names),
        ideal_s=ideal_s,
        path=_table(path, tasks, lines[first]),
        path_length=len(path),
        longest=_table(longest, tasks, lines[first]),
    )


def _json(tasks: GraphTasks, titles: Sequence[str], lines: Sequence[Timeline]) -> Markup:
    """Tasks and runs; a span is seven numbers in a row (see `timeline.js`)."""
    content = {
        "tasks": {
            "names": tasks.names,
            "kinds": tasks.kinds,
            "kindOf": tasks.kind_of,
            "needs": tasks.needs,
        },
        "runs": [
            {
                "title": title,
                "end": line.end,
                "workers": line.worker_names,
                "path": _places(critical_path(tasks, line), line),
                "spans": [
                    number
                    for span in line.spans
                    for number in (
                        *(span.task, span.worker, span.number, span.ready),
                        *(span.started, span.ended, span.cpu),
                    )
                ],
            }
            for title, line in zip(titles, lines, strict=True)
        ],
    }
    text = json.dumps(content, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # or a name could end the script


def _places(spans: Sequence[Span], line: Timeline) -> list[int]:
    """The indices of some attempts of a timeline."""
    place = {span: index for index, span in enumerate(line.spans)}
    return [place[span] for span in spans]


def _table(spans: Sequence[Span], tasks: GraphTasks, line: Timeline) -> list[Line]:
    """The first of some attempts, as lines.

    On a critical path, each has waited for the one before it: for its value, or for its worker.
    """
    before: Sequence[Span | None] = [None, *spans]
    return [
        Line(
            name=tasks.names[span.task] + (f", attempt {span.number}" if span.number > 1 else ""),
            worker=line.worker_names[span.worker],
            started_s=span.started / 1e6,
            ended_s=span.ended / 1e6,
            ran_s=(span.ended - span.started) / 1e6,
            cpu_s=None if span.cpu == UNKNOWN else span.cpu / 1e6,
            waited_for=_waited_for(span, earlier, tasks),
        )
        for span, earlier in zip(spans[:MOST_LINES], before, strict=False)
    ]


def _waited_for(span: Span, earlier: Span | None, tasks: GraphTasks) -> str:
    if earlier is None:
        return ""
    name = tasks.names[earlier.task]
    if earlier.task in tasks.needs[span.task]:
        return f"the value of {name}"
    return "its next attempt" if earlier.task == span.task else f"its worker, which ran {name}"


def critical_path(tasks: GraphTasks, line: Timeline) -> list[Span]:
    """The attempts of the observed critical path: each with the one that it waited for last.

    A task waits for the tasks that it needs and for its worker; the one of them that ended last let
    it start.
    """
    spans = sorted(line.spans, key=lambda span: span.started)
    last = {span.task: span for span in spans}
    before: dict[Span, Span | None] = {}
    row: dict[int, Span] = {}
    for span in spans:
        before[span] = row.get(span.worker)
        row[span.worker] = span
    path: dict[Span, None] = {}
    at: Span | None = max(spans, key=lambda one: one.ended, default=None)
    while at is not None and at not in path:
        path[at] = None
        needs = [last[need] for need in tasks.needs[at.task] if need in last]
        need = max(needs, key=lambda one: one.ended, default=None)
        earlier = before[at]
        at = need if need and (not earlier or need.ended >= earlier.ended) else earlier
    return list(path)[::-1]
