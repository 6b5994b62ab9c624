"""The standard DAG shapes: which task needs which; what a task does is up to the kernel.

A shape is a generator that takes sizes and yields the name of each task with the names of its
needs, which come first. The decorator `shape` adds it to the command line, `bench list` and the
tests. See docs/add-a-shape.md.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench import BenchError
from bench.workloads.registry import Registry
from executors.spelling import instead

Tasks = Iterator[tuple[str, tuple[str, ...]]]

MAX_TASKS = 1_000_000
MAX_EDGES = 5_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A family of graphs.

    Attributes:
        name: as on the command line.
        summary: one line.
        build: yields the tasks for given parameters.
        defaults: the parameters and their default values.
    """

    name: str
    summary: str
    build: Callable[..., Tasks]
    defaults: dict[str, int | float]


@dataclass(frozen=True, slots=True)
class SizedShape:
    """One graph of a family, or a workflow.

    Attributes:
        text: the spec on the command line, or the workflow's name.
        needs: names of the needs by task name.
        lengths_s: seconds by task name, or None if the kernel gives the length of all tasks.
    """

    text: str
    needs: dict[str, tuple[str, ...]]
    lengths_s: dict[str, float] | None = None


def _accepted(name: str, build: Any) -> Shape:
    if not inspect.isgeneratorfunction(build):
        raise TypeError("must be a generator function that yields names with their needs")
    return _shape_of(name, build)


def _shape_of(name: str, build: Callable[..., Tasks]) -> Shape:
    parameters = inspect.signature(build).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in parameters}
    for parameter, default in defaults.items():
        if not isinstance(default, (int, float)):
            raise TypeError(f"its parameter {parameter!r} needs a number as its default")
    summary = (inspect.getdoc(build) or "").partition("\n")[0]  # empty with python -OO
    return Shape(name, summary, build, defaults)


SHAPES = Registry("bench.shapes", "shape", _accepted)


def shape(name: str) -> Callable[[Callable[..., Tasks]], Callable[..., Tasks]]:
    """Registers a shape; the first line of the docstring is its summary."""

    def register(build: Callable[..., Tasks]) -> Callable[..., Tasks]:
        SHAPES[name] = _shape_of(name, build)
        return build

    return register


def sized(spec: str) -> SizedShape:
    """The graph of a spec like `stencil:steps=10:width=8`.

    Raises:
        BenchError: an unknown shape or parameter, or an impossible size.
    """
    name, *settings = spec.split(":")
    if name not in SHAPES:
        raise BenchError(f"unknown shape {name!r}; {instead(name, SHAPES, 'known shapes')}")
    family = SHAPES[name]
    sizes = dict(family.defaults)
    for setting in settings:
        key, _, text = setting.partition("=")
        if key not in sizes:
            known = instead(key, family.defaults, "its parameters")
            raise BenchError(f"shape {name!r} has no parameter {key!r}; {known}")
        sizes[key] = _size(name, key, text, family.defaults[key])
    shown = [f"{key}={value}" for key, value in sizes.items() if value != family.defaults[key]]
    needs: dict[str, tuple[str, ...]] = {}
    edges = 0
    for task, needed in family.build(**sizes):
        needs[task] = needed
        edges += len(needed)
        if len(needs) > MAX_TASKS or edges > MAX_EDGES:
            raise BenchError(
                f"shape {spec!r} has more than {MAX_TASKS:,} tasks or {MAX_EDGES:,} edges;"
                " give smaller sizes"
            )
    return SizedShape(":".join([name, *shown]), needs)


def _size(name: str, key: str, text: str, default: int | float) -> int | float:
    """A parameter's value: a size of at least 1, a seed of at least 0, or a share in (0, 1]."""
    least = 0 if key == "seed" else 1
    wanted = (
        f"a whole number of at least {least}"
        if isinstance(default, int)
        else "above 0 and at most 1"
    )
    try:
        value = type(default)(text)
    except ValueError:
        value = math.nan
    is_valid = value >= least if isinstance(default, int) else 0 < value <= 1
    if not is_valid:
        raise BenchError(f"shape {name!r}: {key} must be {wanted}, not {text!r}")
    if isinstance(default, int) and key != "seed" and value > MAX_TASKS:
        raise BenchError(f"shape {name!r}: {key} must be at most {MAX_TASKS:,}, not {text}")
    return value


def _names(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{index}" for index in range(count))


def _all(names: tuple[str, ...], *needs: str) -> Tasks:
    """Tasks that all have the same needs."""
    for name in names:
        yield name, needs


@shape("independent")
def independent(width: int = 16) -> Tasks:
    """`width` tasks that need nothing (Task Bench: trivial)"""
    yield from _all(_names("task", width))


@shape("chain")
def chain(length: int = 10) -> Tasks:
    """One task after the other: no parallelism"""
    for index in range(length):
        yield f"task{index}", (f"task{index - 1}",) if index else ()


@shape("fan-in")
def fan_in(width: int = 8) -> Tasks:
    """`width` parallel tasks, then one that needs all of them"""
    parts = _names("part", width)
    yield from _all(parts)
    yield "join", parts


@shape("fan-out")
def fan_out(width: int = 8) -> Tasks:
    """One task, then `width` parallel tasks that need it"""
    yield "split", ()
    yield from _all(_names("part", width), "split")


@shape("diamond")
def diamond(width: int = 2) -> Tasks:
    """One task, `width` parallel tasks, one that needs all of them"""
    parts = _names("part", width)
    yield "split", ()
    yield from _all(parts, "split")
    yield "join", parts


@shape("diamond-chain")
def diamond_chain(count: int = 3, width: int = 4) -> Tasks:
    """`count` diamonds; the end of each is the start of the next"""
    yield "join0", ()
    for step in range(count):
        parts = _names(f"part{step}.", width)
        yield from _all(parts, f"join{step}")
        yield f"join{step + 1}", parts


@shape("parallel-chains")
def parallel_chains(chains: int = 4, length: int = 5) -> Tasks:
    """`chains` parallel chains (Task Bench: no_comm)"""
    for step in range(length):
        for index in range(chains):
            yield f"chain{index}.{step}", (f"chain{index}.{step - 1}",) if step else ()


@shape("tree-out")
def tree_out(branching: int = 2, depth: int = 4) -> Tasks:
    """Each task has `branching` children, `depth` times (Task Bench: tree)"""
    yield "node0.0", ()
    for level in range(1, depth + 1):
        for index in range(branching**level):
            yield f"node{level}.{index}", (f"node{level - 1}.{index // branching}",)


@shape("tree-in")
def tree_in(branching: int = 2, depth: int = 4) -> Tasks:
    """A reduction: `branching` results become one, `depth` times"""
    for level in reversed(range(depth + 1)):
        for index in range(branching**level):
            below = range(index * branching, (index + 1) * branching) if level < depth else ()
            yield f"node{level}.{index}", tuple(f"node{level + 1}.{child}" for child in below)


@shape("stencil")
def stencil(steps: int = 6, width: int = 8) -> Tasks:
    """Each task needs itself and its neighbours of the previous step (Task Bench: stencil_1d)"""
    for step in range(steps):
        for x in range(width):
            near = range(max(0, x - 1), min(width, x + 2)) if step else ()
            yield f"cell{step}.{x}", tuple(f"cell{step - 1}.{neighbour}" for neighbour in near)


@shape("butterfly")
def butterfly(stages: int = 3) -> Tasks:
    """The FFT's exchange: `stages` rounds between 2^stages points"""
    for stage in range(stages + 1):
        for x in range(2**stages):
            pair = (x, x ^ (1 << (stage - 1))) if stage else ()
            yield f"point{stage}.{x}", tuple(f"point{stage - 1}.{other}" for other in pair)


@shape("all-to-all")
def all_to_all(steps: int = 4, width: int = 6) -> Tasks:
    """Each task needs every task of the previous step (Task Bench: all_to_all)"""
    for step in range(steps):
        before = _names(f"cell{step - 1}.", width) if step else ()
        yield from _all(_names(f"cell{step}.", width), *before)


@shape("wavefront")
def wavefront(size: int = 6) -> Tasks:
    """A square in which each task needs its left and upper neighbour (Task Bench: dom)"""
    for row in range(size):
        for column in range(size):
            upper = (f"cell{row - 1}.{column}",) if row else ()
            left = (f"cell{row}.{column - 1}",) if column else ()
            yield f"cell{row}.{column}", upper + left


@shape("mapreduce")
def mapreduce(maps: int = 8, reduces: int = 4) -> Tasks:
    """Split, `maps` tasks, `reduces` tasks that need all of them, merge (Estee)"""
    mapped, reduced = _names("map", maps), _names("reduce", reduces)
    yield "split", ()
    yield from _all(mapped, "split")
    yield from _all(reduced, *mapped)
    yield "merge", reduced


@shape("cross-validation")
def cross_validation(folds: int = 5, params: int = 3) -> Tasks:
    """Load, split, fit and score each fold with each parameter, select (Estee: crossv)"""
    yield "load", ()
    yield from _all(_names("fold", folds), "load")
    for param in range(params):
        for fold in range(folds):
            yield f"fit{param}.{fold}", (f"fold{fold}",)
            yield f"score{param}.{fold}", (f"fit{param}.{fold}",)
        yield f"mean{param}", _names(f"score{param}.", folds)
    yield "select", _names("mean", params)


@shape("cholesky")
def cholesky(tiles: int = 5) -> Tasks:
    """Tiled Cholesky factorisation: potrf, trsm, syrk and gemm on a square of `tiles`

    The right-looking variant; see Buttari et al. 2009, "A class of parallel tiled linear algebra
    algorithms for multicore architectures". A task needs the last writer of each tile it touches.
    """
    for k in range(tiles):
        yield f"potrf{k}", (f"syrk{k}.{k - 1}",) if k else ()
        for i in range(k + 1, tiles):
            written = (f"gemm{i}.{k}.{k - 1}",) if k else ()
            yield f"trsm{i}.{k}", (f"potrf{k}", *written)
        for i in range(k + 1, tiles):
            written = (f"syrk{i}.{k - 1}",) if k else ()
            yield f"syrk{i}.{k}", (f"trsm{i}.{k}", *written)
            for j in range(k + 1, i):
                written = (f"gemm{i}.{j}.{k - 1}",) if k else ()
                yield f"gemm{i}.{j}.{k}", (f"trsm{i}.{k}", f"trsm{j}.{k}", *written)


@shape("random-layered")
def random_layered(
    seed: int = 0, tasks: int = 40, fat: float = 0.5, density: float = 0.5, jump: int = 1
) -> Tasks:
    """Levels of about tasks^fat tasks; each needs tasks of up to `jump` levels before it

    After DAGGEN: `density` is the share of the possible needs that exist.
    """
    choice = random.Random(seed)
    mean = max(1.0, math.exp(fat * math.log(tasks)))
    levels: list[tuple[str, ...]] = []
    left = tasks
    while left:
        size = min(left, max(1, round(mean * choice.uniform(0.5, 1.5))))
        left -= size
        level = _names(f"task{len(levels)}.", size)
        reachable = [name for above in levels[-jump:] for name in above]
        for name in level:
            # One need is on the previous level, so that this task is on the next one.
            needs = {choice.choice(levels[-1])} if levels else set()
            needs |= {task for task in reachable if choice.random() < density}
            yield name, tuple(task for task in reachable if task in needs)
        levels.append(level)
