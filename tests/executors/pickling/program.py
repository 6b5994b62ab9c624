# ruff: noqa: T201
"""A program whose actions need things of its `__main__`: prints, as JSON, what each gives where.

Run by `test_main.py`; threads and processes must agree.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import importlib.util
import json
import multiprocessing
import pickle
import sys
import types
import typing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from executors import CONTINUE_ON_FAILURE, Graph, Task, load_backend, run

PLUGIN = """
import functools, pickle
CALLS = []
class Thing:
    def __init__(self, x): self.x = x
class Refusal(Exception):
    def __init__(self, what): super().__init__(f"refused: {what}"); self.what = what
def act(): return "plugged"
def count(): CALLS.append(1); return len(CALLS)
@functools.cache
def cached(): return "cached"
def save(): return len(pickle.dumps(Thing(1)))
def make(): return Thing(4)
def refuse(): raise Refusal("all")
"""
BY_HAND = """
import pickle
FACTOR = 4
class Thing: pass
def act(): return FACTOR
def save(): return len(pickle.dumps(Thing()))
"""


@functools.cache
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@functools.lru_cache(maxsize=2, typed=True)
def tagged(x: int) -> Any:
    return x, tagged.cache_parameters()


tagged.note = "kept"  # type: ignore[attr-defined]


@functools.cache
def main() -> str:
    return "my main"


@functools.singledispatch
def describe(thing: object) -> str:
    return "a thing"


@describe.register
def _(thing: int) -> str:
    return f"the number {thing}"


@describe.register
def _(thing: list) -> str:  # type: ignore[type-arg]
    return f"a list of {[describe(one) for one in thing]}"


UserId = typing.NewType("UserId", int)
Parameters = typing.ParamSpec("Parameters")


def annotated(user: UserId = UserId(3), *others: UserId) -> UserId:
    return UserId(user + len(others))


def with_parameters(function: Callable[Parameters, int] | None = None) -> bool:
    return function is None


class Colour(enum.Enum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Job:
    name: str
    sizes: list[int] = dataclasses.field(default_factory=list)


class Model:
    weight = 3

    @functools.cached_property
    def tenfold(self) -> int:
        return 10 * self.weight

    @functools.lru_cache  # noqa: B019
    def plus(self, x: int = 1) -> int:
        return self.weight + x

    @staticmethod
    def saved() -> int:
        return len(pickle.dumps(Model.saved))

    @classmethod
    def title(cls) -> str:
        return cls.__qualname__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return 1

    class Inner:
        pass


def square(x: int) -> int:
    return x * x


def inner_pool(method: str) -> list[int]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        return list(pool.map(square, range(3)))


def inner_run() -> Any:
    return run(Graph([Task("s", lambda: square(5))]), load_backend("processes", 1)).values


def changed_class() -> Model:
    Model.weight += 1
    return Model()


class ByName:
    def __reduce__(self) -> str:
        return "MISSING"


MISSING = ByName()


class Quota(Exception):
    def __init__(self, what: str) -> None:
        super().__init__(f"quota of {what} exceeded")
        self.what = what


def errors() -> list[Quota]:
    try:
        try:
            raise KeyError("limit")
        except KeyError as missing:
            raise Quota("disk") from missing
    except Quota as error:
        return [error]


def loaded(name: str, file: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module_actions(folder: Path) -> dict[str, Any]:
    """Actions of modules that a worker cannot import by their names."""
    (folder / "plugin.py").write_text(PLUGIN)
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").write_text("from . import first\n")
    (package / "first.py").write_text("from . import second\ndef act(): return second.X\n")
    (package / "second.py").write_text("X = 'from a submodule'\n")
    plugin = loaded("a_plugin", folder / "plugin.py")
    package_module = loaded("a_package", package / "__init__.py")
    by_hand = sys.modules["by_hand"] = types.ModuleType("by_hand")
    exec(BY_HAND, vars(by_hand))
    # Two of one name: the one that was imported is no longer the first on the path.
    for place in ("early", "late"):
        (folder / place).mkdir()
        (folder / place / "twice.py").write_text(f"def act(): return {place!r}\n")
    sys.path.insert(0, str(folder / "early"))
    import twice  # type: ignore[import-not-found]

    sys.path.insert(0, str(folder / "late"))
    importlib.invalidate_caches()
    return {
        "plugin": plugin.act,
        "plugin's module": lambda: plugin.act(),
        "plugin's state": plugin.count,
        "plugin's cache": plugin.cached,
        "plugin pickles": plugin.save,
        "plugin makes": lambda: plugin.make().x,
        "plugin raises": plugin.refuse,
        "package": package_module.first.act,
        "package's submodule": lambda: package_module.first.second.X,
        "by hand": by_hand.act,
        "by hand, pickles": by_hand.save,
        "by hand, the module": lambda: by_hand.act(),
        "first of two": twice.act,
    }


ACTIONS: dict[str, Any] = {
    "recursive cache": functools.partial(fibonacci, 20),
    "parameters of a cache": lambda: (tagged(2), tagged.note),  # type: ignore[attr-defined]
    "a cache named main": main,
    "cached property": lambda: Model().tenfold,
    "cached method": lambda: Model().plus(4),
    "bound cached method": Model().plus,
    "partial of a bound cached method": functools.partial(Model().plus, 7),
    "static method pickles itself": Model.saved,
    "class method": Model.title,
    "inner class is pickled": lambda: len(pickle.dumps(Model.Inner())),
    "single dispatch": lambda: describe([1, "x", [2]]),
    "partial of single dispatch": functools.partial(describe, 4),
    "annotated": annotated,
    "with parameters": with_parameters,
    "enum is pickled": lambda: pickle.loads(pickle.dumps(Colour.RED)) is Colour.RED,
    "enum comes back": lambda: Colour.RED,
    "named tuple comes back": lambda: Point(1, 2),
    "dataclass comes back": lambda: Job("a", [1]),
    "instance comes back": lambda: Model(),
    "class comes back": lambda: Model,
    "function comes back": lambda: square,
    "cached function comes back": lambda: fibonacci,
    "type comes back": lambda: UserId,
    "class that changed": changed_class,
    "errors as a value": errors,
    "fork": functools.partial(inner_pool, "fork"),
    "inner run": inner_run,
    "only by its name": lambda: MISSING,
}
OF_A_FILE = {
    "spawn": functools.partial(inner_pool, "spawn"),
    "forkserver": functools.partial(inner_pool, "forkserver"),
}


def shown(report: Any, name: str) -> str:
    """A value or error, such that different ones look different."""
    error = report.tasks[name].error
    if error is not None:
        return f"{type(error).__name__}: {error}"
    value = report.values[name]
    if isinstance(value, list) and isinstance(value[0], Quota):
        return repr((value, value[0].what, value[0].__cause__))
    known = {id(thing): key for key, thing in globals().items()}
    return known.get(id(value)) or repr(value).partition(" at 0x")[0]


def between_workers() -> tuple[Any, ...]:
    """Values of such types, made by one worker and read by another."""
    plugin = sys.modules["a_plugin"]
    tasks = [Task("thing", plugin.make), Task("model", lambda thing: Model(), needs=("thing",))]
    for i in range(3):
        tasks.append(Task(f"x{i}", lambda thing: thing.x, needs=("thing",)))
        tasks.append(Task(f"y{i}", lambda model: model.plus(), needs=("model",)))
    with load_backend("processes", 2) as backend:
        report = run(Graph(tasks), backend, keep="all")
    report.raise_for_failures()
    types_ = type(report.values["thing"]) is plugin.Thing, type(report.values["model"]) is Model
    return sorted(v for k, v in report.values.items() if k[0] in "xy"), types_, Model.weight


if __name__ == "__main__":
    actions = ACTIONS | module_actions(Path(sys.argv[1]))
    if "__file__" in globals():
        actions |= OF_A_FILE
    outcomes: dict[str, list[str]] = {name: [] for name in actions}
    graph = Graph([Task(name, action, timeout_s=60) for name, action in actions.items()])
    for name in ("threads", "processes"):
        with load_backend(name, 1) as backend:
            report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
        for task in actions:
            outcomes[task].append(shown(report, task))
        print(Model.weight, file=sys.stderr)
        Model.weight = 3
    print(json.dumps([outcomes, between_workers()]))
