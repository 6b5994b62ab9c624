"""A graph that exists is runnable; what is not, is refused with the names."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors import Graph, GraphError, Task, load_backend, run
from executors.core.graph import LONGEST_DELAY_S


def task(name: str, *needs: str, **options: Any) -> Task:
    return Task(name, print, needs, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": ""}, "name must be a non-empty string"),
        ({"name": 3}, "task 3: name must be"),
        ({"action": "print"}, "'t': action must be callable"),
        ({"needs": "abc"}, "needs must be a tuple"),
        ({"needs": (1,)}, "needs must be a tuple"),
        ({"needs": None}, "needs must be a tuple"),
        ({"retries": -1}, "retries must be a whole number >= 0, not -1"),
        ({"retries": True}, "retries must be"),
        ({"slots": 0}, "slots must be a whole number >= 1"),
        ({"retry_delay_s": -0.1}, "retry_delay_s must be seconds >= 0"),
        ({"retry_delay_s": "1"}, "retry_delay_s must be"),
        ({"retry_backoff": float("nan")}, "retry_backoff must be"),
        ({"timeout_s": 0}, "timeout_s must be seconds > 0"),
        ({"timeout_s": float("inf")}, "timeout_s must be"),
        ({"cost_s": -1}, "cost_s must be"),
        ({"context": []}, "context must be hashable"),
    ],
)
def test_a_task_with_a_wrong_field_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(GraphError, match=says.replace("(", r"\(")):
        Task(**{"name": "t", "action": print, **options})


def test_the_fields_of_a_task_can_be_looked_up() -> None:
    parameters = inspect.signature(Task).parameters
    assert list(parameters) == [field.name for field in fields(Task)]
    assert parameters["slots"].default == 1


def test_needs_may_be_any_iterable_of_names() -> None:
    assert Task("t", print, needs=["a", "b"]).needs == ("a", "b")  # type: ignore[arg-type]


NO_ORDER = [{"a", "b"}, frozenset("ab"), {"a": 1}.keys() & {"a"}, {"x": 1}, {1: "a"}, [1], 3, "ab"]


@pytest.mark.parametrize("needs", NO_ORDER)
def test_needs_without_an_order_are_refused(needs: Any) -> None:
    with pytest.raises(GraphError, match="task 't': needs must be a tuple of task names, or a map"):
        Task("t", print, needs=needs)


def divided(above: float, below: float = 1.0) -> float:
    return above / below


MAPPINGS: list[tuple[dict[str, str], float]] = [
    ({"below": "two", "above": "six"}, 3.0),
    ({"above": "two", "below": "six"}, 1 / 3),
    ({"above": "six", "below": "six"}, 1.0),
    ({"above": "six"}, 6.0),
]


@pytest.mark.parametrize("backend", ["sequential", "threads", "processes"])
def test_a_mapping_gives_keyword_arguments(backend: str) -> None:
    tasks = [Task("two", lambda: 2), Task("six", lambda: 6)]
    for at, (needs, _) in enumerate(MAPPINGS):
        tasks.append(Task(str(at), divided, needs))  # type: ignore[arg-type]
    report = run(Graph(tasks), load_backend(backend, 2))
    assert report.values == {str(at): value for at, (_, value) in enumerate(MAPPINGS)}


def test_a_keyword_that_the_action_does_not_have_fails_the_task() -> None:
    graph = Graph([Task("two", lambda: 2), Task("t", divided, {"over": "two"})])  # type: ignore[arg-type]
    error = run(graph, load_backend("sequential")).tasks["t"].error
    assert isinstance(error, TypeError)
    assert "'over'" in str(error)


def test_a_cycle_is_spelled_out() -> None:
    with pytest.raises(GraphError, match="'b' needs 'd' needs 'c' needs 'b'"):
        Graph([task("a"), task("b", "a", "d"), task("c", "b"), task("d", "c"), task("e", "d")])


def test_a_long_cycle_is_spelled_out_briefly() -> None:
    chain = [task(f"t{i}", f"t{(i - 1) % 5000}") for i in range(5000)]
    with pytest.raises(GraphError) as raised:
        Graph(chain)
    assert "'t0' needs 't4999'" in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_task_that_needs_itself_is_a_cycle() -> None:
    with pytest.raises(GraphError, match="'a' needs 'a'"):
        Graph([task("a", "a")])


def test_an_unknown_need_is_named() -> None:
    with pytest.raises(GraphError, match="task 'a' needs 'ghost'"):
        Graph([task("a", "ghost")])


def test_duplicate_names_are_named() -> None:
    with pytest.raises(GraphError, match="more than once: 'a', 'c'"):
        Graph([task("a"), task("b"), task("a"), task("c"), task("c")])


def test_only_tasks_make_a_graph() -> None:
    with pytest.raises(GraphError, match="not 'a'"):
        Graph(["a"])  # type: ignore[list-item]


def test_metrics_of_a_known_graph() -> None:
    """::

    a -> b -> d
    a -> c -> d      e
    """
    graph = Graph([task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"), task("e")])
    assert (len(graph), graph.edges, graph.depth, graph.width) == (5, 4, 3, 2)
    assert graph.average_parallelism == pytest.approx(5 / 3)
    times = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0, "e": 0.5}
    assert graph.work_s(times) == 9.5
    assert graph.span_s(times) == 7.0
    assert graph.work_s() == 5
    assert graph.span_s() == 3


def test_ranks_are_by_bottom_level_in_seconds_where_costs_are_known() -> None:
    graph = Graph(
        [task("short", cost_s=1.0), task("unknown"), task("long", cost_s=9.0), task("m", cost_s=2)]
    )
    assert [ranked.name for ranked in graph.ranked] == ["long", "unknown", "m", "short"]


@given(st.data())
def test_ranks_are_a_topological_order_even_with_costs_of_zero(data: st.DataObject) -> None:
    tasks: list[Task] = []
    for index in range(data.draw(st.integers(1, 30))):
        needs = data.draw(st.lists(st.integers(0, index - 1), max_size=3)) if index else []
        cost = data.draw(st.sampled_from([None, 0.0, 1.0, 7.5]))
        tasks.append(task(f"t{index}", *(f"t{need}" for need in needs), cost_s=cost))
    shuffled = data.draw(st.permutations(tasks))
    graph = Graph(shuffled)
    assert list(graph.tasks) == shuffled
    for rank, ranks in enumerate(graph.needs):
        assert all(need < rank for need in ranks)
        assert [graph.ranked[need].name for need in ranks] == list(graph.ranked[rank].needs)
        assert all(rank in graph.dependents[need] for need in ranks)


@pytest.mark.parametrize(
    ("failures", "delay_s"),
    [(1, 2.0), (2, 6.0), (3, 18.0), (30, LONGEST_DELAY_S), (5000, LONGEST_DELAY_S)],
)
def test_delays_grow_up_to_the_longest_one(failures: int, delay_s: float) -> None:
    growing = task("t", retries=5000, retry_delay_s=2.0, retry_backoff=3.0)
    assert growing.delay_s(failures) == delay_s
