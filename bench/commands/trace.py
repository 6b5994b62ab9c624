"""`bench trace`: timelines in the Chrome trace format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from bench import BenchError
from bench.commands.export import write_whole
from bench.results.store import Results, read_results
from bench.results.timelines import UNKNOWN, GraphTasks, Timeline
from bench.terminal.output import counted, echo, note, warn
from executors.core.trace import Slice, chrome_trace


def trace(source: Path, words: str | None, output: Path | None) -> None:
    """Writes the timelines of some cases to a file, or to standard output.

    Args:
        source: a results file, or the folder that it is in.
        words: only cases that have all of them; None means every case.
    """
    if output is not None and output.exists():
        raise BenchError(f"{output} already exists and is not overwritten; name another file")
    results = read_results(source)
    for text in results.warnings:
        warn(text)
    timelines = _wanted(results, words)
    graphs = {tasks.shape: tasks for tasks in results.graphs}
    runs = [(str(one.case), list(slices_of(graphs[one.shape], one))) for one in timelines]
    content = json.dumps(chrome_trace(runs)) + "\n"
    if output is None:
        echo(content, nl=False)
        return
    write_whole(output, content.encode())
    for one in timelines:
        left_out = graphs[one.shape].tasks - len(graphs[one.shape].names)
        if left_out:
            note(f"{one.case}: {counted(left_out, 'task')} were not kept.")
    note(f"{counted(len(timelines), 'case')}: open {output} in https://ui.perfetto.dev")


def _wanted(results: Results, words: str | None) -> list[Timeline]:
    """The timelines of the cases that have all the words.

    Raises:
        BenchError: there is none.
    """
    timelines = list(results.timelines)
    if not timelines:
        raise BenchError(
            "these results have no timelines: the run was killed, or measured by an older version;"
            " measure again"
        )
    wanted = set((words or "").lower().replace(",", " ").split()) - {"with"}
    found = [one for one in timelines if wanted <= _parts(str(one.case))]
    if not found:
        raise BenchError(
            f"no case has all the words of {words!r}; words of a case are, for example, those of"
            f" {str(timelines[0].case)!r}"
        )
    return found


def _parts(text: str) -> set[str]:
    """The words of a case; also those on both sides of a colon."""
    text = text.lower()
    return (set(re.split(r"[\s,]+", text)) | set(re.split(r"[\s,:]+", text))) - {"", "with"}


def slices_of(tasks: GraphTasks, timeline: Timeline) -> Iterator[Slice]:
    """The attempts of a timeline."""
    last = {span.task: span.number for span in timeline.spans}
    for span in timeline.spans:
        yield Slice(
            task=tasks.names[span.task],
            kind=tasks.kinds[tasks.kind_of[span.task]],
            worker=timeline.worker_names[span.worker],
            number=span.number,
            ready_s=None if span.ready == UNKNOWN else span.ready / 1e6,
            started_s=span.started / 1e6,
            ended_s=span.ended / 1e6,
            cpu_s=None if span.cpu == UNKNOWN else span.cpu / 1e6,
            error="" if span.number == last[span.task] else "failed",
            needs=[tasks.names[need] for need in tasks.needs[span.task]],
        )
