"""`bench list`: shapes, kernels and backends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bench import BenchError
from bench.results.exporters import EXPORTERS
from bench.terminal.output import answer_alone, echo, first_column, warn
from bench.workloads.kernels import KERNELS
from bench.workloads.registry import Registry, Thing
from bench.workloads.shapes import SHAPES, sized
from executors import Graph, Task
from executors.backends import SIMULATED, backend_names, why_unavailable


def listing(form: str) -> None:
    """Prints all of them, and why a backend is not available here.

    Args:
        form: text or json.
    """
    with answer_alone(form == "json"):
        content = _content()
    if form == "json":
        echo(json.dumps(content, indent=1))
        return
    shapes, kernels, backends = content["shapes"], content["kernels"], content["backends"]
    pad = first_column(shape["name"] for shape in shapes)
    echo(f"{pad('shape')}{'tasks':>6}{'edges':>6}{'depth':>6}{'width':>6}{'avg. par.':>10}")
    for shape in shapes:
        echo(
            f"{pad(shape['name'])}{shape['tasks']:>6}{shape['edges']:>6}{shape['depth']:>6}"
            f"{shape['width']:>6}{shape['average_parallelism']:>10.2f}"
        )
        parameters = "".join(f":{key}={value}" for key, value in shape["parameters"].items())
        echo(f"  {parameters}  {shape['summary']}")
    pad = first_column(
        [*(kernel["name"] for kernel in kernels), *(one["name"] for one in backends)]
    )
    echo(f"\n{pad('kernel')}with a length, for example sleep:20ms")
    for kernel in kernels:
        echo(pad(kernel["name"]) + kernel["summary"])
    echo("\nbackend")
    for backend in backends:
        reason = backend["unavailable"]
        text = f"not available here: {reason}" if reason else "available"
        if backend["name"] == SIMULATED:
            text = "runs nothing: simulates that many ideal cores; used only if named"
        echo(pad(backend["name"]) + text)
    echo(f"\n{pad('exporter')}formats of bench export")
    for exporter in content["exporters"]:
        echo(pad(exporter["name"]) + exporter["summary"])


def _usable(registry: Registry[Thing]) -> Iterator[tuple[str, Thing]]:
    """All that can be used; warns of those of other packages that cannot."""
    for name in registry:
        try:
            yield name, registry[name]
        except BenchError as error:
            warn(str(error))


def _content() -> dict[str, list[dict[str, Any]]]:
    shapes = []
    for name, shape in _usable(SHAPES):
        graph = Graph(Task(task, print, needs) for task, needs in sized(name).needs.items())
        shapes.append(
            {
                "name": name,
                "parameters": dict(shape.defaults),
                "summary": shape.summary,
                "tasks": len(graph),
                "edges": graph.edges,
                "depth": graph.depth,
                "width": graph.width,
                "average_parallelism": graph.average_parallelism,
            }
        )
    backends = [
        {"name": name, "unavailable": why_unavailable(name)}
        for name in [*backend_names(), SIMULATED]
    ]
    kernels = [{"name": name, "summary": kernel.summary} for name, kernel in _usable(KERNELS)]
    exporters = [
        {"name": name, "summary": (exporter.__doc__ or "").partition("\n")[0]}
        for name, exporter in _usable(EXPORTERS)
    ]
    return {
        "shapes": shapes,
        "kernels": kernels,
        "backends": backends,
        "exporters": exporters,
    }
