"""A finished run in words and as a table, with what made it slow if that is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from executors.core.descriptions import describe
from executors.core.tables import data_frame, html_table, text_table
from executors.durations import shown

COLUMNS = ("task", "status", "attempts", "worker", "waited_s", "ran_s")
MOST_ROWS = 60  # of a summary; the longest tasks and all failures
IMPORTANT = 0.1  # share of a run that an import must take to be mentioned
LEAST_S = 0.05
MOST_MODULES = 2
MOST_NAMES = 3
SUCCEEDED = "succeeded"  # a `Status`


class Readable:
    """What a `RunReport`, its subclass, says of itself."""

    __slots__ = ()
    tasks: Any

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {headline(self)}>"

    def __str__(self) -> str:
        return headline(self)

    def summary(self) -> str:
        """A table of the tasks, with why the run took longer than it had to, if that is known.

        Columns: task, status, attempts, worker, waited (from ready to the start of the last
        attempt, so with earlier attempts and their delays), ran (the last attempt).
        """
        return summary(self)

    def to_pandas(self) -> Any:
        """A DataFrame with a row per task; its columns are those of the summary, times in seconds.

        Raises:
            ImportError: pandas is not installed.
        """
        return data_frame(COLUMNS, [_values(record) for record in self.tasks.values()])

    def trace(self, path: str | PathLike[str]) -> None:
        """Writes the run as a Chrome trace, for ui.perfetto.dev or speedscope.

        Raises:
            OSError: the file cannot be written.
        """
        import json

        from executors.core.trace import chrome_trace, slices_of

        content = chrome_trace([(headline(self), list(slices_of(self)))])
        Path(path).write_text(json.dumps(content) + "\n", encoding="utf-8")

    def _repr_html_(self) -> str:
        return as_html(self)


def headline(report: Any) -> str:
    """One line: 30 tasks on threads with 4 workers took 1.23 s: 29 succeeded, 1 failed."""
    workers = f" with {report.workers} worker{'s' * (report.workers > 1)}"
    where = report.backend if report.backend == "sequential" else report.backend + workers
    counts = [f"{number} {status.replace('_', ' ')}" for status, number in report.counts.items()]
    tasks = f"{len(report.tasks)} task{'s' * (len(report.tasks) != 1)}"
    text = f"{tasks} on {where} took {shown(report.makespan_s)}: {', '.join(counts) or 'none'}"
    return text if report.stop_reason is None else f"{text} ({report.stop_reason})"


def summary(report: Any) -> str:
    """The headline, a table of the tasks, the errors, and remarks on what took time."""
    records = _shown(report)
    rows = [_cells(record) for record in records]
    parts = [headline(report)]
    if rows:
        titles = [column.removesuffix("_s") for column in COLUMNS]
        parts.append("\n".join(text_table(titles, rows, left=2)))
    if len(rows) < len(report.tasks):
        parts.append(f"The other {len(report.tasks) - len(rows)} tasks succeeded in less time.")
    errors = _errors(report)
    return "\n\n".join([*parts, *(["\n".join(errors)] if errors else []), *remarks(report)])


def _errors(report: Any) -> list[str]:
    """The failed tasks, with where their errors were raised if that is known."""
    return [
        f"{record.name}: {describe(record.error)}{_place(record.error)}"
        for record in report.failures
    ]


def _place(error: BaseException) -> str:
    """File and line of the last frame."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"


def as_html(report: Any) -> str:
    """The same for notebooks."""
    from html import escape

    titles = [column.removesuffix("_s") for column in COLUMNS]
    table = html_table(titles, [_cells(record) for record in _shown(report)])
    lines = [*_errors(report), *remarks(report)]
    words = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f"<p>{escape(headline(report))}</p>\n{table}\n{words}"


def _shown(report: Any) -> list[Any]:
    """All records in the graph's order or, of many, those that matter most."""
    records = list(report.tasks.values())
    if len(records) <= MOST_ROWS:
        return records
    records.sort(key=lambda record: (record.status == SUCCEEDED, -record.duration_s))
    return records[:MOST_ROWS]


def _values(record: Any) -> tuple[Any, ...]:
    last = record.attempts[-1] if record.attempts else None
    waited_s = None
    if last is not None and record.ready_s is not None:
        waited_s = max(0.0, last.started_s - record.ready_s)
    return (
        record.name,
        str(record.status),
        len(record.attempts),
        None if last is None else last.worker,
        waited_s,
        None if last is None else last.duration_s,
    )


def _cells(record: Any) -> list[str]:
    *others, waited_s, ran_s = _values(record)
    times = ["" if time_s is None else shown(time_s) for time_s in (waited_s, ran_s)]
    return ["" if value is None else str(value) for value in others] + times


# -- what took time -------------------------------------------------------------------------------


def remarks(report: Any) -> Iterator[str]:
    """Sentences on what made the run slow, and what to do about it."""
    if report.imports:
        yield from _imports(report)
    if (sentence := retries(report)) is not None:
        yield sentence


def retries(report: Any) -> str | None:
    """A sentence on the time that failed attempts and the delays after them took, if any did."""
    took_s: dict[str, float] = {}
    for record in report.tasks.values():
        if len(record.attempts) > 1:
            took_s[record.name] = record.attempts[-1].started_s - record.attempts[0].started_s
    if not took_s:
        return None
    names = sorted(took_s, key=lambda name: -took_s[name])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (
        f"Failed attempts, with the delays before retries, took {shown(sum(took_s.values()))}:"
        f" {', '.join(names[:MOST_NAMES])}{more}."
    )


def _imports(report: Any) -> Iterator[str]:
    """What importing in each worker process took: first tasks of a function against later ones."""
    from statistics import median  # seldom needed, and slow to import

    first = {imports.task_name for imports in report.imports}
    usual: dict[object, list[float]] = defaultdict(list)
    for record in report.tasks.values():
        if record.attempts and record.name not in first:
            usual[_action_of(record)].append(record.duration_s)
    taken_s: dict[str, float] = defaultdict(float)
    modules: dict[str, None] = {}
    for imports in report.imports:
        record = report.tasks[imports.task_name]
        later = usual.get(_action_of(record)) if record.attempts else None
        longer_s = max(0.0, record.duration_s - median(later)) if later else 0.0
        taken_s[imports.worker] += max(0.0, imports.load_s) + longer_s
        modules |= dict.fromkeys(imports.modules[:MOST_MODULES])
    longest_s = max(taken_s.values())
    if longest_s < max(LEAST_S, IMPORTANT * report.makespan_s):
        return
    names = list(modules)[:MOST_MODULES]
    workers = f"each of {len(taken_s)} workers" if len(taken_s) > 1 else "its worker"
    yield (
        f"Importing {', '.join(names)} took up to {shown(longest_s)} of the"
        f" {shown(report.makespan_s)} on {workers}. To import when the workers start, use"
        f" load_backend({report.backend!r}, preload={names!r}); to start them once for several"
        " runs, enter the backend: with load_backend(...) as backend."
    )


def _action_of(record: Any) -> object:
    """The function that several tasks may share."""
    action = record.attempts[-1].call.task.action
    return getattr(action, "__code__", None) or id(action)
