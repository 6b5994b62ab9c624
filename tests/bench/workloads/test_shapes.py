"""The catalogue: sizes by their formulas, for several parameters."""

from __future__ import annotations

import math

import pytest

from bench import BenchError
from bench.workloads.shapes import SHAPES, sized
from executors import Graph, Task


def graph(spec: str) -> Graph:
    return Graph(Task(name, print, needs) for name, needs in sized(spec).needs.items())


def sizes(spec: str) -> tuple[int, int, int, int]:
    drawn = graph(spec)
    return len(drawn), drawn.edges, drawn.depth, drawn.width


@pytest.mark.parametrize("w", [1, 2, 3, 8])
def test_shapes_of_one_width(w: int) -> None:
    assert sizes(f"independent:width={w}") == (w, 0, 1, w)
    assert sizes(f"chain:length={w}") == (w, w - 1, w, 1)
    assert sizes(f"fan-in:width={w}") == (w + 1, w, 2, w)
    assert sizes(f"fan-out:width={w}") == (w + 1, w, 2, w)
    assert sizes(f"diamond:width={w}") == (w + 2, 2 * w, 3, w)
    assert sizes(f"wavefront:size={w}") == (w * w, 2 * w * (w - 1), 2 * w - 1, w)
    tasks = w * (w + 1) * (w + 2) // 6
    assert (sizes(f"cholesky:tiles={w}")[0], sizes(f"cholesky:tiles={w}")[2]) == (tasks, 3 * w - 2)


@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 1), (3, 4), (5, 3)])
def test_shapes_of_two_sizes(a: int, b: int) -> None:
    assert sizes(f"diamond-chain:count={a}:width={b}") == (
        a * (b + 1) + 1,
        2 * a * b,
        2 * a + 1,
        b,
    )
    assert sizes(f"parallel-chains:chains={a}:length={b}") == (a * b, a * (b - 1), b, a)
    assert sizes(f"stencil:steps={a}:width={b}") == (
        a * b,
        (a - 1) * (3 * b - 2),
        a,
        b,
    )
    assert sizes(f"all-to-all:steps={a}:width={b}") == (a * b, b * b * (a - 1), a, b)
    assert sizes(f"mapreduce:maps={a}:reduces={b}") == (a + b + 2, a + a * b + b, 4, max(a, b))


@pytest.mark.parametrize(("b", "d"), [(2, 1), (2, 4), (3, 3)])
@pytest.mark.parametrize("name", ["tree-in", "tree-out"])
def test_trees(name: str, b: int, d: int) -> None:
    tasks = (b ** (d + 1) - 1) // (b - 1)
    assert sizes(f"{name}:branching={b}:depth={d}") == (tasks, tasks - 1, d + 1, b**d)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_butterfly(d: int) -> None:
    w = 2**d
    assert sizes(f"butterfly:stages={d}") == (w * (d + 1), 2 * w * d, d + 1, w)


def test_every_butterfly_output_depends_on_every_input() -> None:
    drawn = graph("butterfly:stages=3")
    reach: dict[int, set[str]] = {}
    for rank, needs in enumerate(drawn.needs):
        reach[rank] = set().union(*(reach[need] for need in needs), {drawn.ranked[rank].name})
    inputs = {f"point0.{x}" for x in range(8)}
    assert all(inputs <= reach[drawn.rank[f"point3.{x}"]] for x in range(8))


def test_random_layered_is_seeded() -> None:
    assert sized("random-layered:seed=3").needs == sized("random-layered:seed=3").needs
    assert sized("random-layered:seed=3").needs != sized("random-layered:seed=4").needs


@pytest.mark.parametrize("fat", [0.2, 0.5, 0.8])
def test_random_layered_has_the_tasks_and_about_the_width_asked_for(fat: float) -> None:
    drawn = graph(f"random-layered:tasks=400:fat={fat}")
    assert len(drawn) == 400
    mean = 400 / drawn.depth
    assert mean / 1.6 < math.exp(fat * math.log(400)) < mean * 1.6


def test_random_layered_jumps_no_further_than_told() -> None:
    drawn = graph("random-layered:tasks=200:jump=2:density=0.9")
    spans = {
        drawn.levels[rank] - drawn.levels[need]
        for rank, needs in enumerate(drawn.needs)
        for need in needs
    }
    assert spans == {1, 2}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_has_a_summary_defaults_and_a_runnable_graph(name: str) -> None:
    assert SHAPES[name].summary
    assert SHAPES[name].defaults
    assert len(graph(name)) > 0
    assert sized(name).text == name


def test_the_text_of_a_shape_has_what_differs_from_the_defaults() -> None:
    assert sized("stencil:width=8:steps=9").text == "stencil:steps=9"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("ring", "unknown shape 'ring'; known shapes: independent, chain"),
        ("fan-in:size=3", "'fan-in' has no parameter 'size'; its parameters: width"),
        ("fan-in:width=0", "width must be a whole number of at least 1, not '0'"),
        ("fan-in:width=two", "width must be a whole number"),
        ("fan-in:width", "width must be a whole number"),
        ("fan-in:width=2000000", "width must be at most 1,000,000"),
        ("tree-in:depth=40", "more than 1,000,000 tasks"),
        ("all-to-all:width=100000", "more than"),
        ("random-layered:fat=nan", "fat must be above 0 and at most 1, not 'nan'"),
        ("random-layered:seed=-1", "seed must be a whole number of at least 0"),
        ("random-layered:fat=300", "fat must be above 0 and at most 1"),
        ("butterfly:stages=50", "more than"),
    ],
)
def test_what_makes_no_graph_is_refused(spec: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        sized(spec)
