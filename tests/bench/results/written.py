"""Results with known truths, for the tests of what is drawn from them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.machine.counters import Interference
from bench.results.case import Case
from bench.results.store import FILE_NAME, KINDS, SCHEMA, CeilingSample, Measurement, Sample

SIZES = {"tasks": 9, "edges": 8, "depth": 2, "width": 8, "average_parallelism": 4.5}


def measurement(case: Case, wall_s: float, block: int = 0, **others: Any) -> Measurement:
    values: dict[str, Any] = {
        **asdict(case),
        "block": block,
        "wall_s": wall_s,
        "makespan_s": wall_s,
        "start_s": 0.01,
        "work_s": 0.18,
        "span_s": 0.04,
        "cpu_s": 0.5 * wall_s,
        "busy": [(wall_s / 2, 0.4), (wall_s, 0.6)],
        "memory_bytes": 30_000_000,
        **others,
    }
    return Measurement(**values)


def header(shapes: list[str], kernels: list[str], planned: int) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "created_s": 1_800_000_000,
        "planned": planned,
        "cpus": 2,
        "config": {
            "command": "bench run",
            "shapes": shapes,
            "kernels": kernels,
            "backends": ["sequential", "threads"],
            "max_workers": [1, 2],
            "blocks": 7,
            "seed": 0,
            "options": {},
        },
        "shapes": dict.fromkeys(shapes, SIZES),
        "kernels": {
            kernel: {"length_s": 0.02, "kernel": kernel.partition(":")[0], "units": 7}
            for kernel in kernels
        },
        "machine": {
            "system": "Linux 6",
            "architecture": "x86_64",
            "cpu": "a | b",
            "cpus": {"installed": 2, "affinity": 2, "quota": None, "override": None, "usable": 2},
            "memory_bytes": 8_000_000_000,
            "load_1min": 0.1,
            "others_running": 0.0,
            "blas_threads": {"OMP_NUM_THREADS": "1"},
        },
        "versions": {"python": "CPython 3.11.7", "gil": "on"},
    }


def line(sample: Sample) -> dict[str, Any]:
    return {KINDS[type(sample)]: asdict(sample)}


def write(
    folder: Path,
    times_s: Mapping[tuple[str, str, str, int], float],
    blocks: int = 7,
    noise: float = 0.01,
    planned: int | None = None,
    others: Sequence[CeilingSample | Interference] = (),
    end: str | None = "complete",
    seed: int = 1,
) -> Path:
    """A results file with lognormal noise around the given wall times."""
    shapes = list(dict.fromkeys(shape for shape, _, _, _ in times_s))
    kernels = list(dict.fromkeys(kernel for _, kernel, _, _ in times_s))
    chance = random.Random(seed)
    lines: list[Any] = [
        header(shapes, kernels, len(times_s) * blocks if planned is None else planned)
    ]
    for block in range(blocks):
        for case, wall_s in times_s.items():
            wall = wall_s * chance.lognormvariate(0, noise)
            lines.append(line(measurement(Case(*case), wall, block)))
    lines += [line(other) for other in others]
    if end is not None:
        lines.append({"end": end})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    path.write_text("".join(json.dumps(content) + "\n" for content in lines))
    return path


TYPICAL = {
    ("fan-in", "sleep:20ms", "sequential", 1): 0.18,
    ("fan-in", "sleep:20ms", "threads", 1): 0.181,
    ("fan-in", "sleep:20ms", "threads", 2): 0.1,
    ("fan-in", "sleep:20ms", "threads", 8): 0.041,
    ("fan-in", "sleep:20ms", "processes", 8): 0.042,
    ("fan-in", "python-cpu:20ms", "sequential", 1): 0.18,
    ("fan-in", "python-cpu:20ms", "threads", 2): 0.185,
    ("fan-in", "python-cpu:20ms", "processes", 2): 0.11,
    ("chain", "sleep:20ms", "sequential", 1): 0.2,
    ("chain", "sleep:20ms", "threads", 2): 0.2,
    ("chain", "python-cpu:20ms", "sequential", 1): 0.2,
    ("chain", "python-cpu:20ms", "processes", 2): 0.21,
}
