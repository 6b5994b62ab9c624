"""Results in the formats of other tools: those of this module, and entry points of other packages.

An exporter is a function that takes `Results` and returns a text. Its entry point is in the group
`bench.exporters`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.results.timelines import UNKNOWN
from bench.workloads.registry import Registry

if TYPE_CHECKING:
    from bench.results.samples import Results

TASK_COLUMNS = [
    *("shape", "kernel", "backend", "workers", "block", "task", "kind", "worker", "number"),
    *("ready_s", "taken_s", "started_s", "ended_s", "received_s", "cpu_s"),
]

Exporter = Callable[["Results"], str]


def to_csv(results: Results) -> str:
    """One row per measurement, with a header; without the curves of busy cores"""
    from bench.results.samples import COLUMNS  # only where results can be written

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(run.row for run in results.measurements)
    return text.getvalue()


def to_tasks_csv(results: Results) -> str:
    """One row per task attempt of the run of each case whose timeline was kept"""
    graphs = {tasks.shape: tasks for tasks in results.graphs}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TASK_COLUMNS)
    for timeline in results.timelines:
        case, tasks = timeline.case, graphs[timeline.shape]
        for span in timeline.spans:
            times = (span.ready, span.taken, span.started, span.ended, span.received, span.cpu)
            writer.writerow(
                [
                    *(case.shape, case.kernel, case.backend, case.workers, timeline.block),
                    *(tasks.names[span.task], tasks.kinds[tasks.kind_of[span.task]]),
                    *(timeline.worker_names[span.worker], span.number),
                    *("" if time == UNKNOWN else f"{time / 1e6:.6f}" for time in times),
                ]
            )
    return text.getvalue()


def to_json(results: Results) -> str:
    """One object: the header, and lists of measurements, ceilings and interference"""
    content: dict[str, Any] = {
        "header": results.header,
        "measurements": [asdict(run) for run in results.measurements],
        "ceilings": [asdict(sample) for sample in results.ceilings],
        "interference": [asdict(pool) for pool in results.interference],
        "end": results.end,
    }
    return json.dumps(content, indent=1) + "\n"


def _accepted(name: str, exporter: Any) -> Exporter:
    if not callable(exporter):
        raise TypeError("must be a function that takes Results and returns text")
    made: Exporter = exporter
    return made


EXPORTERS = Registry("bench.exporters", "exporter", _accepted)
EXPORTERS["csv"] = to_csv
EXPORTERS["json"] = to_json
EXPORTERS["tasks"] = to_tasks_csv
