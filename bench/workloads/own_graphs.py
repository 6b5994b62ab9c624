"""Graphs of the user's own, by the functions that return them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception

from bench import BenchError
from executors import Graph, RunFailed, TaskError
from executors.core.records import describe
from executors.errors import ArgumentError
from executors.imports.interpreter import current_folder
from executors.imports.named import named_module
from executors.spelling import similar

OWN_TASKS = "own tasks"  # in the place of a kernel


@dataclass(frozen=True, slots=True)
class OwnGraph:
    """A graph and what it was made by.

    Attributes:
        name: module:function.
        source: a hash of the files of the module, of the function and of the tasks' actions.
    """

    name: str
    graph: Graph
    source: str

    @property
    def structure(self) -> str:
        """A hash of its tasks and what they need."""
        tasks = [(task.name, task.needs) for task in self.graph.tasks]
        return hashlib.sha256(repr(tasks).encode(errors="surrogatepass")).hexdigest()[:16]


def load_graph(spec: str) -> OwnGraph:
    """The graph that module:function returns; modules in the current folder are found, too.

    Raises:
        BenchError: there is no such function, it fails, or it does not return a Graph with tasks.
    """
    here = current_folder()
    if here is not None and str(here) not in sys.path:
        sys.path.insert(0, str(here))
    try:
        module, function = named_module("--graph", spec, "function", "my_tasks:make_graph")
    except ArgumentError as error:
        raise BenchError(str(error)) from error
    make = getattr(module, function, None)
    if not callable(make):
        functions = [name for name, thing in vars(module).items() if callable(thing)]
        meant = similar(function, functions)
        hint = "" if meant is None else f"; did you mean {meant!r}?"
        raise BenchError(f"--graph {spec}: {module.__name__} has no function {function}{hint}")
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
    return OwnGraph(spec, graph, _source_of(module, make, *(task.action for task in graph.tasks)))


def load_pipeline(spec: str, arguments: str | None) -> OwnGraph:
    """The graph of a ZenML pipeline; modules in the current folder are found, too.

    Args:
        spec: module:pipeline.
        arguments: of the pipeline, as a JSON object; None for none.

    Raises:
        BenchError: the arguments are not a JSON object.
        ExecutorError: there is no such pipeline, or it does not take the arguments.
    """
    try:
        values = json.loads(arguments or "{}")
    except ValueError as error:
        values = error
    if not isinstance(values, dict):
        raise BenchError(
            f"--pipeline-args must be a JSON object, like '{{\"rows\": 100}}', not {arguments!r}"
        )
    from executors.zenml.stacks.own import graph_of_pipeline

    graph = graph_of_pipeline(spec, values, str(current_folder()))
    module, _, name = spec.partition(":")
    entrypoint = getattr(sys.modules[module], name).entrypoint
    return OwnGraph(spec, graph, _source_of(sys.modules[module], entrypoint))


def installed_stacks() -> str:
    """The stacks that run steps in parallel here, as `bench zenml install` registers them."""
    from executors.zenml.stacks.usable import OURS, stack_facts

    return ",".join(["default", *(one.name for one in stack_facts() if one.flavor in OURS)])


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


def function_name(action: object) -> str:
    """The name of the function that a task calls, for functools.partial that of its function."""
    inner = getattr(action, "action", None) or getattr(action, "func", None)
    if inner is not None:
        return function_name(inner)
    return str(getattr(action, "__qualname__", None) or type(action).__qualname__)


def _source_of(module: object, *functions: object) -> str:
    """A hash of the files that these are from; unknown ones do not count."""
    files = {getattr(module, "__file__", None)}
    for function in functions:
        code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
        files.add(getattr(code, "co_filename", None))
    total = hashlib.sha256()
    for file in sorted(name for name in files if isinstance(name, str)):
        try:
            total.update(Path(file).read_bytes())
        except (OSError, ValueError):
            continue  # a notebook, or no file at all
    return total.hexdigest()[:16]
