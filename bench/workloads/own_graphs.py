"""Graphs of the user's own, by the functions that return them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from traceback import format_exception

from bench import BenchError
from executors import Graph, RunFailed, TaskError
from executors.core.records import describe
from executors.imports.interpreter import current_folder

OWN_TASKS = "own tasks"  # in the place of a kernel


@dataclass(frozen=True, slots=True)
class OwnGraph:
    """A graph and what it was made by.

    Attributes:
        name: module:function.
        source: a hash of the module's file; empty if it has none.
    """

    name: str
    graph: Graph
    source: str


def load_graph(spec: str) -> OwnGraph:
    """The graph that module:function returns; modules in the current folder are found, too.

    Raises:
        BenchError: there is no such function, it fails, or it does not return a Graph with tasks.
    """
    module_name, _, function = spec.partition(":")
    if not module_name or not function:
        raise BenchError(f"--graph must be module:function, like my_tasks:make_graph, not {spec!r}")
    here = current_folder()
    if here is not None and str(here) not in sys.path:
        sys.path.insert(0, str(here))
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise BenchError(
            f"--graph {spec}: cannot import {module_name} ({describe(error)})"
        ) from error
    make = getattr(module, function, None)
    if not callable(make):
        raise BenchError(f"--graph {spec}: {module_name} has no function {function}")
    try:
        graph = make()
    except (Exception, SystemExit) as error:
        raise BenchError(f"--graph {spec}: {function}() failed ({describe(error)})") from error
    if not isinstance(graph, Graph):
        raise BenchError(
            f"--graph {spec}: {function}() must return a Graph, not {type(graph).__name__}"
        )
    if not len(graph):
        raise BenchError(f"--graph {spec}: {function}() returned a graph without tasks")
    return OwnGraph(spec, graph, _hash_of(getattr(module, "__file__", None)))


@contextmanager
def named(graph: str) -> Iterator[None]:
    """Lets a run that fails inside say which graph it was of."""
    try:
        yield
    except RunFailed as failed:
        failed.add_note(graph)
        raise


def explained(failed: RunFailed) -> str:
    """What failed, on which backend, and the traceback of the first failure.

    An outcome that the scheduler itself gave, such as a timeout, has no traceback worth reading.
    """
    report = getattr(failed, "report", None)
    names = [*getattr(failed, "__notes__", ()), *([] if report is None else [report.backend])]
    where = f"{' on '.join(names)}: " if names else ""
    cause = failed.__cause__
    if cause is None or isinstance(cause, TaskError):
        return f"{where}{failed}"
    return f"{where}{failed}\n{''.join(format_exception(cause)).rstrip()}"


def _hash_of(file: str | None) -> str:
    try:
        return hashlib.sha256(Path(file or "").read_bytes()).hexdigest()[:16]
    except OSError:
        return ""
