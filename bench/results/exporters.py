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

from bench.workloads.registry import Registry

if TYPE_CHECKING:
    from bench.results.samples import Results

Exporter = Callable[["Results"], str]


def to_csv(results: Results) -> str:
    """One row per measurement, with a header; without the curves of busy cores"""
    from bench.results.samples import COLUMNS  # only where results can be written

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(run.row for run in results.measurements)
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
