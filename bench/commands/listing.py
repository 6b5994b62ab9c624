"""`bench list`: shapes, kernels and backends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from bench import BenchError
from bench.measure.backend_options import option_names
from bench.results.exporters import EXPORTERS
from bench.terminal.output import answer_alone, echo, first_column, hanging, warn
from bench.workloads.kernels import KERNELS
from bench.workloads.registry import Registry, Thing
from bench.workloads.shapes import SHAPES, sized
from executors import BackendError, Graph, Task
from executors.backends import SIMULATED, backend_class, backend_names, why_unavailable
from executors.engines import FUTURES


def listing(form: str, is_long: bool = False) -> None:
    """Prints all of them, and why a backend is not available here.

    Args:
        form: text or json.
        is_long: also what backends take as options, and what they cannot do.
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
    is_foreign = False
    for backend in sorted(backends, key=_is_foreign):
        if _is_foreign(backend) and not is_foreign:
            is_foreign = True
            echo("\nother executors, measured only if they are named")
        hanging(pad(backend["name"]) + _state(backend), len(pad("")))
        if is_long:
            if backend["options"]:
                hanging(pad("") + "options: " + ", ".join(backend["options"]), len(pad("")))
            for feature, why in backend["cannot"].items():
                hanging(pad("") + f"does not support {feature}: {why}", len(pad("")))
    echo(f"\n{pad('exporter')}formats of bench export")
    for exporter in content["exporters"]:
        echo(pad(exporter["name"]) + exporter["summary"])


def stacks(form: str) -> None:
    """Prints ZenML's stacks, and why one cannot be measured here."""
    with answer_alone(True):  # ZenML prints its first steps
        from executors.zenml.stacks.usable import stack_facts

        found = [fact._asdict() for fact in stack_facts()]
    if form == "json":
        echo(json.dumps({"stacks": found}, indent=1))
        return
    pad = first_column(one["name"] for one in found)
    flavors = first_column(one["flavor"] for one in found)
    echo(f"{pad('stack')}{flavors('orchestrator')}")
    for one in found:
        workers = f", max_workers {one['max_workers']}" if one["max_workers"] else ""
        state = f"cannot be measured here: {one['unusable']}" if one["unusable"] else "available"
        hanging(f"{pad(one['name'])}{flavors(one['flavor'])}{state}{workers}", len(pad("")))


def _state(backend: dict[str, Any]) -> str:
    """Whether a backend can run here, and what to do if it cannot."""
    if backend["name"] == SIMULATED:
        return "runs nothing: simulates that many ideal cores; used only if named"
    if backend["name"] == FUTURES:
        return "any concurrent.futures.Executor: --backend-option futures.executor=MODULE:FUNCTION"
    if backend["unavailable"]:
        return f"not available here: {backend['unavailable']}"
    versions = ", ".join(f"{name} {version}" for name, version in backend["packages"].items())
    return f"available ({versions})" if versions else "available"


def _is_foreign(backend: dict[str, Any]) -> bool:
    return not backend["is_default"] and backend["name"] != SIMULATED


def _backend(name: str) -> dict[str, Any]:
    reason = why_unavailable(name)
    try:
        kind = backend_class(name)
    except BackendError:  # it cannot be imported, as the reason says
        return {
            "name": name,
            "unavailable": reason,
            "is_default": False,
            "packages": {},
            "options": [],
            "cannot": {},
        }
    return {
        "name": name,
        "unavailable": reason,
        "is_default": kind.is_default and kind.runs_tasks,
        "packages": {} if reason else {package: version(package) for package in kind.packages},
        "options": option_names(name),
        "cannot": {str(feature): why for feature, why in kind.cannot.items()},
    }


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
    backends = [_backend(name) for name in [*backend_names(), FUTURES, SIMULATED]]
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
