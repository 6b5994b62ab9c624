"""Graphs from dask's collections give what dask computes."""

from __future__ import annotations

from typing import Any

import pytest

from executors import Graph, GraphError, run

dask: Any = pytest.importorskip("dask")


def increment(number: int) -> int:
    return number + 1


def add(*numbers: int) -> int:
    return sum(numbers)


@pytest.mark.parametrize("backend", ["sequential", "threads", "processes"])
def test_a_delayed_value_runs_on_every_backend(backend: str) -> None:
    one, two = dask.delayed(increment)(1), dask.delayed(increment)(2)
    total = dask.delayed(add)(one, two, dask.delayed(add)(one, [two, 3][1]))
    graph = Graph.from_dask(total)
    (value,) = run(graph, backend, workers=2).values.values()
    assert value == total.compute() == 10
    assert len(graph) == 4


def test_containers_and_keywords_keep_their_needs() -> None:
    @dask.delayed  # type: ignore[untyped-decorator]
    def table(rows: list[int], *, named: dict[str, int]) -> tuple[list[int], dict[str, int]]:
        return rows, named

    one = dask.delayed(increment)(1)
    value = table([one, 5], named={"two": dask.delayed(increment)(one)})
    (got,) = run(Graph.from_dask(value), "threads", workers=2).values.values()
    assert got == value.compute() == ([2, 5], {"two": 3})


def test_the_sinks_of_a_bag_are_its_parts() -> None:
    bag = pytest.importorskip("dask.bag").from_sequence(range(6), npartitions=3).map(increment)
    values = run(Graph.from_dask(bag), "threads", workers=2).values.values()
    assert [number for part in values for number in part] == [1, 2, 3, 4, 5, 6]


def test_what_is_not_of_dask_is_refused_in_a_line() -> None:
    with pytest.raises(GraphError, match=r"takes one collection of dask.*not list"):
        Graph.from_dask([1, 2])
