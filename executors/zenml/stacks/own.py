"""A pipeline of the user's own as a graph, so that it is measured like any other."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from zenml.execution.pipeline.utils import prevent_pipeline_execution
from zenml.pipelines.pipeline_definition import Pipeline
from zenml.utils import source_utils

from executors import Graph, Task
from executors.core.records import describe
from executors.errors import ArgumentError
from executors.imports.named import named_module
from executors.spelling import instead

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class OwnPipeline:
    """What a task of such a graph has as its action: a stack runs the whole pipeline instead.

    Attributes:
        spec: module:pipeline.
        arguments: of the pipeline.
        root: the source root: the folder that its modules are found from.
    """

    spec: str
    root: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *_: object) -> NoReturn:
        raise ArgumentError(f"the steps of {self.spec} run on ZenML stacks only")

    def without_cache(
        self, run_name: str, settings: Mapping[str, Any] | None = None
    ) -> Callable[[], object]:
        """What runs it, under this name, with caching off for all of its steps.

        Args:
            settings: instead of its own ones of the same keys.
        """
        made = _pipeline(self.spec).copy()
        made.prepare(**self.arguments)
        steps = {name: {"enable_cache": False} for name in made.invocations}
        configured = made.with_options(
            run_name=run_name, steps=steps, enable_cache=False, settings=dict(settings or {})
        )
        return lambda: configured(**self.arguments)


def graph_of_pipeline(spec: str, arguments: Mapping[str, Any], root: str) -> Graph:
    """The graph of a static pipeline, as it is with these arguments.

    Args:
        spec: module:pipeline.
        arguments: of the pipeline.
        root: the folder that its modules are found from.

    Raises:
        ArgumentError: there is no such pipeline, it is dynamic, or it does not take the arguments.
    """
    if root not in sys.path:
        sys.path.insert(0, root)
    before = source_utils._CUSTOM_SOURCE_ROOT
    source_utils.set_custom_source_root(root)
    try:
        return _graph_of(spec, arguments, root)
    finally:
        source_utils.set_custom_source_root(before)


def _graph_of(spec: str, arguments: Mapping[str, Any], root: str) -> Graph:
    found = _pipeline(spec)
    if found.is_dynamic:
        raise ArgumentError(
            f"--pipeline {spec}: it is dynamic, so its steps are not known before it has run"
        )
    made = found.copy()
    try:
        made.prepare(**arguments)
    except Exception as error:
        raise ArgumentError(
            f"--pipeline {spec}: it cannot be prepared with these arguments: {describe(error)};"
            " set them with --pipeline-args"
        ) from error
    action = OwnPipeline(spec, root, arguments)
    steps = made.invocations
    if not steps:
        raise ArgumentError(f"--pipeline {spec}: it has no steps")
    return Graph(
        Task(name, action, tuple(sorted(step.upstream_steps))) for name, step in steps.items()
    )


def _pipeline(spec: str) -> Pipeline:
    with prevent_pipeline_execution():
        module, name = named_module("--pipeline", spec, "pipeline", "train:training")
    found = getattr(module, name, None)
    if not isinstance(found, Pipeline):
        known = [key for key, value in vars(module).items() if isinstance(value, Pipeline)]
        what = "is no pipeline" if inspect.getattr_static(module, name, None) else "is missing"
        raise ArgumentError(
            f"--pipeline {spec}: {name} {what}; {instead(name, known, 'pipelines of the module')}"
        )
    return found
