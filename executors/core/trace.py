"""A run in the Chrome trace format, which Perfetto (ui.perfetto.dev) and speedscope read.

Source: "Trace Event Format" (Google, 2016): complete events ("X") for attempts, one row per worker;
flow events ("s", "f") from each task to those that need it; counter events ("C") for running and
ready tasks and for the cores that they keep busy; metadata ("M") for names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from executors.core.descriptions import describe

LEAST_US = 0.001  # of a slice; Perfetto drops flows of slices without a length


class Slice(NamedTuple):
    """One attempt; times are seconds since the run began.

    Attributes:
        kind: what several tasks have in common.
        ready_s: when the task's last need was met; None for retries, or if it is not known.
        cpu_s: how long its thread computed, or None.
        error: in words; empty if it succeeded.
        needs: names of the tasks that it waited for.
    """

    task: str
    kind: str
    worker: str
    number: int
    ready_s: float | None
    started_s: float
    ended_s: float
    cpu_s: float | None
    error: str
    needs: Sequence[str]


def slices_of(report: Any) -> Iterator[Slice]:
    """The attempts of a `RunReport`."""
    for record in report.tasks.values():
        for attempt in record.attempts:
            task = attempt.call.task
            is_ready_known = attempt.number == 1 and record.ready_s is not None
            yield Slice(
                task=task.name,
                kind=getattr(task.action, "__qualname__", type(task.action).__qualname__),
                worker=attempt.worker,
                number=attempt.number,
                ready_s=record.ready_s - report.started_s if is_ready_known else None,
                started_s=attempt.started_s - report.started_s,
                ended_s=attempt.ended_s - report.started_s,
                cpu_s=attempt.cpu_s,
                error="" if attempt.error is None else describe(attempt.error),
                needs=task.needs,
            )


def chrome_trace(runs: Iterable[tuple[str, Sequence[Slice]]]) -> dict[str, Any]:
    """The content of a trace file.

    Args:
        runs: the title and the attempts of each; each run becomes a process of the trace.
    """
    events: list[dict[str, Any]] = []
    for process, (title, slices) in enumerate(runs, 1):
        events += _run(process, title, slices)
    for number, event in enumerate(event for event in events if event["ph"] == "s"):
        event["id"] = number
    for number, event in enumerate(event for event in events if event["ph"] == "f"):
        event["id"] = number
    return {"displayTimeUnit": "ms", "traceEvents": events}


def _run(process: int, title: str, slices: Sequence[Slice]) -> Iterator[dict[str, Any]]:
    rows = {name: row for row, name in enumerate(dict.fromkeys(one.worker for one in slices), 1)}
    yield _name("process_name", process, 0, title)
    for worker, row in rows.items():
        yield _name("thread_name", process, row, worker)
    for one in slices:
        yield {
            "ph": "X",
            "name": one.task if one.number == 1 else f"{one.task}, attempt {one.number}",
            "cat": one.kind,
            "pid": process,
            "tid": rows[one.worker],
            "ts": _microseconds(one.started_s),
            "dur": _length(one),
            "args": {
                "function": one.kind,
                "needs": list(one.needs),
                **({} if one.cpu_s is None else {"cpu_ms": round(1e3 * one.cpu_s, 3)}),
                **({"error": one.error} if one.error else {}),
            },
        }
    yield from _flows(process, rows, slices)
    yield from _counters(process, slices)


def _name(what: str, process: int, row: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": row, "args": {"name": name}}


def _length(one: Slice) -> float:
    return max(LEAST_US, _microseconds(one.ended_s - one.started_s))


def _flows(process: int, rows: dict[str, int], slices: Sequence[Slice]) -> Iterator[dict[str, Any]]:
    """Arrows for the needs: from the end of the needed task to the start of the one that waited."""
    first = {one.task: one for one in reversed(slices) if one.number == 1}
    last = {one.task: one for one in slices}
    for one in first.values():
        for need in one.needs:
            if (before := last.get(need)) is None:
                continue
            common = {"name": "need", "cat": "need", "pid": process}
            inside = _microseconds(before.started_s) + _length(before) - LEAST_US / 2
            yield {**common, "ph": "s", "tid": rows[before.worker], "ts": round(inside, 4)}
            at = _microseconds(one.started_s)
            yield {**common, "ph": "f", "bp": "e", "tid": rows[one.worker], "ts": at}


def _counters(process: int, slices: Sequence[Slice]) -> Iterator[dict[str, Any]]:
    """How many tasks run and are ready, and how many cores they keep busy; at the end, all zero."""
    changes: dict[float, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for one in slices:
        length_s = one.ended_s - one.started_s
        share = 1.0 if one.cpu_s is None or not length_s else one.cpu_s / length_s
        for at_s, sign in ((one.started_s, 1), (one.ended_s, -1)):
            changes[at_s][0] += sign
            changes[at_s][2] += sign * share
        if one.ready_s is not None and one.ready_s < one.started_s:
            changes[one.ready_s][1] += 1
            changes[one.started_s][1] -= 1
    running = ready = 0
    cores = 0.0
    for at_s, (started, became_ready, busy) in sorted(changes.items()):
        running, ready, cores = running + int(started), ready + int(became_ready), cores + busy
        common = {"ph": "C", "pid": process, "ts": _microseconds(at_s)}
        yield {**common, "name": "tasks", "args": {"running": running, "ready": ready}}
        yield {**common, "name": "cores busy", "args": {"cores": round(abs(cores), 3)}}


def _microseconds(seconds: float) -> float:
    return round(1e6 * seconds, 3)
