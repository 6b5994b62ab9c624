"""The standard DAG shapes: who needs whom, with nothing said of what a task does.

A shape is a function that takes sizes and returns the needs of each task by name, in an order
in which needs come first. Decorated with `shape`, it is in the command line, in `bench list`
and in the tests. See docs/add-a-shape.md.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from bench import BenchError

Needs = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Shape:
    """A family of graphs.

    Attributes:
        name: as on the command line.
        summary: one line.
        build: makes the needs from the parameters.
        defaults: parameters and their default sizes.
    """

    name: str
    summary: str
    build: Callable[..., Needs]
    defaults: dict[str, int | float]


@dataclass(frozen=True, slots=True)
class SizedShape:
    """One graph of a family; its text is what the command line takes."""

    text: str
    needs: Needs


SHAPES: dict[str, Shape] = {}


def shape(name: str) -> Callable[[Callable[..., Needs]], Callable[..., Needs]]:
    """Registers a shape; the first line of the docstring is its summary."""

    def register(build: Callable[..., Needs]) -> Callable[..., Needs]:
        parameters = inspect.signature(build).parameters.values()
        defaults = {parameter.name: parameter.default for parameter in parameters}
        summary = (inspect.getdoc(build) or "").splitlines()[0]
        SHAPES[name] = Shape(name, summary, build, defaults)
        return build

    return register


def sized(spec: str) -> SizedShape:
    """The graph that a text like `stencil:steps=10:width=8` means.

    Raises:
        BenchError: an unknown shape or parameter, or a size that makes no graph.
    """
    name, *settings = spec.split(":")
    if name not in SHAPES:
        raise BenchError(f"unknown shape {name!r}; there are: {', '.join(SHAPES)}")
    family = SHAPES[name]
    sizes = dict(family.defaults)
    for setting in settings:
        key, _, text = setting.partition("=")
        if key not in sizes:
            known = ", ".join(family.defaults)
            raise BenchError(f"shape {name!r} has no parameter {key!r}; it has: {known}")
        sizes[key] = _size(name, key, text, family.defaults[key])
    shown = [f"{key}={value}" for key, value in sizes.items() if value != family.defaults[key]]
    return SizedShape(":".join([name, *shown]), family.build(**sizes))


MAX_TASKS = 1_000_000


def _size(name: str, key: str, text: str, default: int | float) -> int | float:
    wanted = "a whole number of at least 1" if isinstance(default, int) else "a number above 0"
    try:
        value = type(default)(text)
    except ValueError:
        value = type(default)(-1)
    least_ok = value >= (0 if key == "seed" else 1) if isinstance(default, int) else value > 0
    if not least_ok or not math.isfinite(value):
        raise BenchError(f"shape {name!r}: {key} must be {wanted}, not {text!r}")
    if isinstance(default, int) and key != "seed" and value > MAX_TASKS:
        raise BenchError(f"shape {name!r}: {key}={text} is more than {MAX_TASKS} tasks")
    return value


def _names(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{index}" for index in range(count))


@shape("independent")
def independent(width: int = 16) -> Needs:
    """`width` tasks that need nothing (Task Bench: trivial)"""
    return dict.fromkeys(_names("task", width), ())


@shape("chain")
def chain(length: int = 10) -> Needs:
    """One after the other: nothing to gain"""
    names = _names("task", length)
    return {name: names[index - 1 : index] if index else () for index, name in enumerate(names)}


@shape("fan-in")
def fan_in(width: int = 8) -> Needs:
    """`width` side by side, then one that needs all"""
    parts = _names("part", width)
    return {**dict.fromkeys(parts, ()), "join": parts}


@shape("fan-out")
def fan_out(width: int = 8) -> Needs:
    """One, then `width` side by side that need it"""
    return {"split": (), **dict.fromkeys(_names("part", width), ("split",))}


@shape("diamond")
def diamond(width: int = 2) -> Needs:
    """One, `width` side by side, one that needs all"""
    parts = _names("part", width)
    return {"split": (), **dict.fromkeys(parts, ("split",)), "join": parts}


@shape("diamond-chain")
def diamond_chain(count: int = 3, width: int = 4) -> Needs:
    """`count` diamonds, the end of each being the start of the next"""
    needs: Needs = {"join0": ()}
    for step in range(count):
        parts = _names(f"part{step}.", width)
        needs |= dict.fromkeys(parts, (f"join{step}",))
        needs[f"join{step + 1}"] = parts
    return needs


@shape("parallel-chains")
def parallel_chains(chains: int = 4, length: int = 5) -> Needs:
    """`chains` chains side by side (Task Bench: no_comm)"""
    return {
        f"chain{chain}.{step}": (f"chain{chain}.{step - 1}",) if step else ()
        for step in range(length)
        for chain in range(chains)
    }


@shape("tree-out")
def tree_out(branching: int = 2, depth: int = 4) -> Needs:
    """Each task has `branching` children, `depth` times (Task Bench: tree)"""
    needs: Needs = {"node0.0": ()}
    for level in range(1, depth + 1):
        for index in range(branching**level):
            needs[f"node{level}.{index}"] = (f"node{level - 1}.{index // branching}",)
    return needs


@shape("tree-in")
def tree_in(branching: int = 2, depth: int = 4) -> Needs:
    """A reduction: `branching` results become one, `depth` times"""
    needs: Needs = dict.fromkeys(_names(f"node{depth}.", branching**depth), ())
    for level in reversed(range(depth)):
        for index in range(branching**level):
            below = range(index * branching, (index + 1) * branching)
            needs[f"node{level}.{index}"] = tuple(f"node{level + 1}.{each}" for each in below)
    return needs


@shape("stencil")
def stencil(steps: int = 6, width: int = 8) -> Needs:
    """Each task needs itself and its neighbours of the step before (Task Bench: stencil_1d)"""
    return {
        f"cell{step}.{x}": tuple(
            f"cell{step - 1}.{near}" for near in range(max(0, x - 1), min(width, x + 2))
        )
        if step
        else ()
        for step in range(steps)
        for x in range(width)
    }


@shape("butterfly")
def butterfly(stages: int = 3) -> Needs:
    """The FFT's exchange: `stages` rounds between 2^stages points"""
    return {
        f"point{stage}.{x}": (
            (f"point{stage - 1}.{x}", f"point{stage - 1}.{x ^ (1 << (stage - 1))}") if stage else ()
        )
        for stage in range(stages + 1)
        for x in range(2**stages)
    }


@shape("all-to-all")
def all_to_all(steps: int = 4, width: int = 6) -> Needs:
    """Each task needs every task of the step before (Task Bench: all_to_all)"""
    return {
        f"cell{step}.{x}": _names(f"cell{step - 1}.", width) if step else ()
        for step in range(steps)
        for x in range(width)
    }


@shape("wavefront")
def wavefront(size: int = 6) -> Needs:
    """A square in which each task needs its left and upper neighbour (Task Bench: dom)"""
    return {
        f"cell{row}.{column}": (
            *((f"cell{row - 1}.{column}",) if row else ()),
            *((f"cell{row}.{column - 1}",) if column else ()),
        )
        for row in range(size)
        for column in range(size)
    }


@shape("mapreduce")
def mapreduce(maps: int = 8, reduces: int = 4) -> Needs:
    """Split, `maps` tasks, `reduces` that need all of them, merge (Estee)"""
    mapped, reduced = _names("map", maps), _names("reduce", reduces)
    return {
        "split": (),
        **dict.fromkeys(mapped, ("split",)),
        **dict.fromkeys(reduced, mapped),
        "merge": reduced,
    }


@shape("cross-validation")
def cross_validation(folds: int = 5, params: int = 3) -> Needs:
    """Load, split into folds, fit and score each with each parameter, select (Estee: crossv)"""
    needs: Needs = {"load": (), **dict.fromkeys(_names("fold", folds), ("load",))}
    scores = []
    for param in range(params):
        for fold in range(folds):
            needs[f"fit{param}.{fold}"] = (f"fold{fold}",)
            needs[f"score{param}.{fold}"] = (f"fit{param}.{fold}",)
        scores.append(f"mean{param}")
        needs[scores[-1]] = _names(f"score{param}.", folds)
    needs["select"] = tuple(scores)
    return needs


@shape("cholesky")
def cholesky(tiles: int = 5) -> Needs:
    """Tiled Cholesky factorisation: potrf, trsm, syrk and gemm on `tiles` x `tiles` tiles

    Right-looking variant; see Buttari et al. 2009, "A class of parallel tiled linear algebra
    algorithms for multicore architectures". Each tile's last writer is who is needed.
    """
    needs: Needs = {}
    writer: dict[tuple[int, int], str] = {}

    def add(name: str, tile: tuple[int, int], reads: list[tuple[int, int]]) -> None:
        needs[name] = tuple(writer[each] for each in [*reads, tile] if each in writer)
        writer[tile] = name

    for k in range(tiles):
        add(f"potrf{k}", (k, k), [])
        for i in range(k + 1, tiles):
            add(f"trsm{i}.{k}", (i, k), [(k, k)])
        for i in range(k + 1, tiles):
            add(f"syrk{i}.{k}", (i, i), [(i, k)])
            for j in range(k + 1, i):
                add(f"gemm{i}.{j}.{k}", (i, j), [(i, k), (j, k)])
    return needs


@shape("random-layered")
def random_layered(
    seed: int = 0, tasks: int = 40, fat: float = 0.5, density: float = 0.5, jump: int = 1
) -> Needs:
    """Random levels of about e^(fat ln tasks) tasks that need some of the last `jump` levels

    After DAGGEN: `density` is the part of the possible needs that exist.
    """
    random_ = random.Random(seed)
    mean = max(1.0, math.exp(fat * math.log(tasks)))
    levels: list[list[str]] = []
    needs: Needs = {}
    while len(needs) < tasks:
        size = min(tasks - len(needs), max(1, round(mean * random_.uniform(0.5, 1.5))))
        above = levels[-1] if levels else []
        reachable = [name for level in levels[-jump:] for name in level]
        level = [f"task{len(levels)}.{index}" for index in range(size)]
        for name in level:
            if above:
                first = random_.choice(above)  # so that the level is where it should be
                rest = [near for near in reachable if near != first]
                needs[name] = (first, *(near for near in rest if random_.random() < density))
            else:
                needs[name] = ()
        levels.append(level)
    return needs
