"""Graphs of dask's collections, such as those of `dask.delayed`, arrays, bags and data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from executors.errors import GraphError


class Node:
    """A task of dask as an action.

    Attributes:
        task: dask's.
        needs: keys of the tasks whose values it takes, in this order.
    """

    __slots__ = ("needs", "task")

    def __init__(self, task: Any, needs: Sequence[Any]) -> None:
        self.task = task
        self.needs = needs

    def __call__(self, *values: Any) -> Any:
        return self.task(dict(zip(self.needs, values, strict=True)))

    def __repr__(self) -> str:
        return f"Node({self.task!r})"


def nodes_of(collection: Any) -> Iterator[tuple[str, Callable[..., Any], tuple[str, ...]]]:
    """Name, action and needs of each task, as dask would run them: optimised.

    Raises:
        GraphError: dask is not installed, or it is not one of dask's collections.
    """
    try:
        import dask.base
        import dask.core
        from dask._task_spec import convert_legacy_graph
    except ImportError:
        raise GraphError("Graph.from_dask needs dask: pip install 'executor-bench[dask]'") from None
    if not dask.base.is_dask_collection(collection):
        raise GraphError(
            f"Graph.from_dask takes one collection of dask, such as a delayed value, not"
            f" {type(collection).__name__}; for several, pass dask.delayed([first, second])"
        )
    optimise: Any = dask.base.optimize  # which has no types
    (optimised,) = optimise(collection)
    tasks = convert_legacy_graph(dict(optimised.__dask_graph__()))
    flatten: Any = dask.core.flatten
    parts = list(flatten(optimised.__dask_keys__()))
    needed = {need for task in tasks.values() for need in task.dependencies}
    for key in sorted((needed | set(parts)) - set(tasks), key=_name):
        raise GraphError(
            f"{_name(key)!r} is on a cluster of dask already (persist, or a future); pass the"
            " collection before that, or its value"
        )
    order = [*(key for key in tasks if key not in set(parts)), *dict.fromkeys(parts)]
    for key in order:  # so that the values of the parts come in their order
        task = tasks[key]
        needs = sorted(task.dependencies, key=_name)
        yield _name(key), Node(task, needs), tuple(map(_name, needs))


def _name(key: Any) -> str:
    return key if isinstance(key, str) else str(key)
