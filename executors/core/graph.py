"""`Task` and `Graph`: what is to be done, checked once and ranked by urgency.

A graph that exists is runnable: names are unique, every need is known, there is no cycle.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import median
from typing import Any

from executors.core.deferred import is_deferred
from executors.dask_graphs import nodes_of
from executors.errors import GraphError

NEEDS = "a tuple of task names, or a mapping from names of arguments to task names"
CYCLE_NAMES_SHOWN = 10  # at each end
LONGEST_DELAY_S = 1e8  # three years


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0


# What the fields of a task must be: (field, description, test).
_RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("name", "a non-empty string", lambda value: isinstance(value, str) and value != ""),
    ("action", "callable", callable),
    (
        "action",
        "a function that runs when it is called (for `async def`, write lambda: asyncio.run(f());"
        " for a generator, lambda: list(f()))",
        lambda action: not is_deferred(action),
    ),
    ("retries", "a whole number >= 0", lambda value: _is_count(value, 0)),
    ("retry_delay_s", "seconds >= 0", _is_seconds),
    ("retry_backoff", "a number >= 0", _is_seconds),
    ("timeout_s", "seconds > 0 or None", lambda s: s is None or (_is_seconds(s) and s > 0)),
    ("cost_s", "seconds >= 0 or None", lambda s: s is None or _is_seconds(s)),
    ("slots", "a whole number >= 1", lambda value: _is_count(value, 1)),
    ("context", "hashable", lambda value: isinstance(value, Hashable)),
)


class ByKeyword:
    """An action that takes its arguments by name.

    Attributes:
        action: the user's.
        names: of its arguments, in the order of the task's needs.
    """

    __slots__ = ("action", "names")

    def __init__(self, action: Callable[..., Any], names: tuple[str, ...]) -> None:
        self.action = action
        self.names = names

    def __call__(self, *values: Any) -> Any:
        return self.action(**dict(zip(self.names, values, strict=True)))

    def __repr__(self) -> str:
        return f"ByKeyword({self.action!r}, {self.names!r})"


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work.

    Attributes:
        name: unique in its graph.
        action: called with the values of `needs`, in that order; what it returns is its value.
        needs: names of the tasks whose values are the arguments, in order; or a mapping from names
            of arguments to names of tasks. Sets are refused: they have no order.
        retries: how many more attempts follow a failed one.
        retry_delay_s: seconds before the first retry.
        retry_backoff: factor by which the delay grows with each further retry.
        timeout_s: seconds that one attempt may take, or None.
        cost_s: expected seconds, used for the order only.
        slots: number of workers that it occupies while it runs (at most all of them).
        context: tasks with different contexts never run at the same time; None runs beside any.

    Raises:
        GraphError: a field has a wrong type or value.
    """

    name: str
    action: Callable[..., Any]
    needs: tuple[str, ...] = ()
    retries: int = 0
    retry_delay_s: float = 0.0
    retry_backoff: float = 1.0
    timeout_s: float | None = None
    cost_s: float | None = None
    slots: int = 1
    context: Hashable = None

    def __new__(cls, *_: object, **fields: object) -> Task:
        if "lane" in fields:
            raise GraphError("Task(lane=...) has been renamed: write Task(context=...)")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for field, wanted, is_right in _RULES:
            if not is_right(getattr(self, field)):
                raise self._refused(field, wanted)
        if type(self.needs) is not tuple:
            self._order_needs()
        for need in self.needs:
            if not isinstance(need, str):
                raise self._refused("needs", NEEDS)

    def _order_needs(self) -> None:
        """Makes a tuple of `needs`; the keys of a mapping are the names of the arguments."""
        needs: object = self.needs
        if isinstance(needs, Mapping):
            if not all(isinstance(name, str) for name in needs):
                raise self._refused("needs", NEEDS)
            object.__setattr__(self, "action", ByKeyword(self.action, tuple(needs)))
            needs = needs.values()
        elif isinstance(needs, (str, Set)) or not isinstance(needs, Iterable):
            raise self._refused("needs", NEEDS)
        object.__setattr__(self, "needs", tuple(needs))

    def _refused(self, field: str, wanted: str) -> GraphError:
        value = getattr(self, field)
        return GraphError(f"task {self.name!r}: {field} must be {wanted}, not {value!r}")

    def delay_s(self, failures: int) -> float:
        """Seconds before the next attempt, after the given number of failed ones."""
        if not self.retry_delay_s:
            return 0.0
        try:
            delay_s = self.retry_delay_s * self.retry_backoff ** (failures - 1)
        except OverflowError:
            return LONGEST_DELAY_S
        return min(delay_s, LONGEST_DELAY_S)


# What `inspect` shows, although `__new__` takes anything.
_self, *_fields = inspect.signature(Task.__init__).parameters.values()
Task.__signature__ = inspect.Signature(_fields)  # type: ignore[attr-defined]


class Graph:
    """A directed acyclic graph of tasks.

    Inside a run, tasks are integers: their rank by urgency, 0 the most urgent. A task's urgency
    is its bottom level, the longest path from its start to the end of the graph, in tasks or,
    where any `cost_s` is known, in seconds (an unknown cost counts as the median of the known
    ones). Ranks are a topological order, so a plain heap of ranks is the ready queue.

    Attributes:
        tasks: the tasks in the order given.
        ranked: the same tasks by rank.
        rank: from name to rank.
        needs: for each rank, the ranks of its needs, in argument order.
        dependents: for each rank, the ranks of the tasks that need it (once for each argument).
        successor: for each rank, the rank of the task that needs only this one, and is the only
            one that needs it (the next one in a chain), or -1.
        levels: for each rank, the number of tasks before it on the longest path from a source.

    Raises:
        GraphError: not a task, a duplicate name, an unknown need, or a cycle (spelled out).
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks: tuple[Task, ...] = tuple(tasks)
        for task in self.tasks:
            if not isinstance(task, Task):
                raise GraphError(f"a graph is made of Task objects, not {task!r}")
        index_of = {task.name: index for index, task in enumerate(self.tasks)}
        if len(index_of) < len(self.tasks):
            counts = Counter(task.name for task in self.tasks)
            twice = ", ".join(repr(name) for name, count in counts.items() if count > 1)
            raise GraphError(f"task names must be unique; used more than once: {twice}")
        needs = [_indices_of_needs(task, index_of) for task in self.tasks]
        order = _topological(self.tasks, needs)
        urgency = _bottom_levels(_costs(self.tasks), needs, order)
        by_rank = sorted(order, key=lambda index: -urgency[index])  # stable: ties stay topological
        rank_of = [0] * len(by_rank)
        for rank, index in enumerate(by_rank):
            rank_of[index] = rank

        self.ranked: tuple[Task, ...] = tuple(self.tasks[index] for index in by_rank)
        self.rank: dict[str, int] = {task.name: rank for rank, task in enumerate(self.ranked)}
        self.needs: list[tuple[int, ...]] = [
            tuple([rank_of[need] for need in needs[index]]) for index in by_rank
        ]
        self.dependents: list[tuple[int, ...]] = _dependents(self.needs)
        self.successor: list[int] = [
            ranks[0] if len(ranks) == 1 and len(self.needs[ranks[0]]) == 1 else -1
            for ranks in self.dependents
        ]
        self.levels: list[int] = []
        for ranks in self.needs:
            self.levels.append(1 + max((self.levels[need] for need in ranks), default=-1))

    @classmethod
    def from_dask(cls, collection: Any) -> Graph:
        """The tasks of a collection of dask: of a delayed value, an array, a bag, a data frame.

        They are optimised as dask would. Tasks are named by their keys, and the sinks are the
        collection's parts.

        Raises:
            GraphError: dask is not installed, or it is not one of dask's collections.
        """
        return cls(Task(name, action, needs) for name, action, needs in nodes_of(collection))

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        return f"<Graph of {len(self)} tasks, {self.edges} edges>"

    @property
    def edges(self) -> int:
        """Number of pairs of a task and one that needs it."""
        return sum(len(set(ranks)) for ranks in self.needs)

    @property
    def depth(self) -> int:
        """Number of tasks on the longest path."""
        return 1 + max(self.levels, default=-1)

    @property
    def width(self) -> int:
        """Number of tasks on the fullest level (a task's level: longest distance from a source)."""
        return max(Counter(self.levels).values(), default=0)

    @property
    def average_parallelism(self) -> float:
        """Tasks divided by depth: the speedup of unit tasks on unlimited workers."""
        return len(self) / self.depth if self.tasks else 0.0

    def work_s(self, times_s: Mapping[str, float] | None = None) -> float:
        """Sum of the task times, by default of the costs (1 where no cost is known)."""
        return math.fsum(self._times(times_s))

    def span_s(self, times_s: Mapping[str, float] | None = None) -> float:
        """Length of the critical path: no number of workers can beat it."""
        return max(self._path_ends(self._times(times_s)), default=0.0)

    def critical_path(self, times_s: Mapping[str, float] | None = None) -> list[Task]:
        """The tasks of the longest path, first to last, by the same times as `span_s`."""
        ends_s = self._path_ends(self._times(times_s))
        path: list[Task] = []
        ranks: Sequence[int] = range(len(self))
        while ranks:
            last = max(ranks, key=lambda rank: ends_s[rank])
            path.append(self.ranked[last])
            ranks = self.needs[last]
        return path[::-1]

    def _path_ends(self, times_s: Sequence[float]) -> list[float]:
        """For each rank, the length of the longest path that ends with it."""
        ends_s: list[float] = []
        for rank, ranks in enumerate(self.needs):
            ends_s.append(times_s[rank] + max((ends_s[need] for need in ranks), default=0.0))
        return ends_s

    def _times(self, times_s: Mapping[str, float] | None) -> list[float]:
        if times_s is None:
            return _costs(self.ranked)
        return [times_s[task.name] for task in self.ranked]


def _indices_of_needs(task: Task, index_of: Mapping[str, int]) -> list[int]:
    try:
        return [index_of[need] for need in task.needs]
    except KeyError as error:
        raise GraphError(
            f"task {task.name!r} needs {error.args[0]!r}, which is not in the graph"
        ) from None


def _costs(tasks: Sequence[Task]) -> list[float]:
    known = [task.cost_s for task in tasks if task.cost_s is not None]
    unknown = median(known) if known else 1.0
    return [unknown if task.cost_s is None else task.cost_s for task in tasks]


def _topological(tasks: Sequence[Task], needs: Sequence[Sequence[int]]) -> list[int]:
    """Indices of the tasks, needs first (Kahn 1962); ties keep the order given."""
    missing = [len(indices) for indices in needs]
    dependents = _dependents(needs)
    order = [index for index, count in enumerate(missing) if not count]
    for index in order:  # grows while it is read
        for dependent in dependents[index]:
            missing[dependent] -= 1
            if not missing[dependent]:
                order.append(dependent)
    if len(order) < len(needs):
        raise GraphError("the graph has a cycle: " + " needs ".join(_cycle(tasks, needs, missing)))
    return order


def _cycle(
    tasks: Sequence[Task], needs: Sequence[Sequence[int]], missing: Sequence[int]
) -> list[str]:
    """Names along one cycle: from any blocked task, follow blocked needs until one repeats."""
    path: list[int] = []
    seen: dict[int, int] = {}
    index = next(index for index, count in enumerate(missing) if count)
    while index not in seen:
        seen[index] = len(path)
        path.append(index)
        index = next(need for need in needs[index] if missing[need])
    names = [repr(tasks[step].name) for step in [*path[seen[index] :], index]]
    if len(names) > 2 * CYCLE_NAMES_SHOWN:
        hidden = len(names) - 2 * CYCLE_NAMES_SHOWN
        names[CYCLE_NAMES_SHOWN:-CYCLE_NAMES_SHOWN] = [f"... ({hidden} more) ..."]
    return names


def _dependents(needs: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    lists: list[list[int]] = [[] for _ in needs]
    for index, indices in enumerate(needs):
        for need in indices:
            lists[need].append(index)
    return [tuple(dependents) for dependents in lists]


def _bottom_levels(
    costs: Sequence[float], needs: Sequence[Sequence[int]], order: Sequence[int]
) -> list[float]:
    levels = list(costs)
    for index in reversed(order):
        for need in needs[index]:
            levels[need] = max(levels[need], costs[need] + levels[index])
    return levels
