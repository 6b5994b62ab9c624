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
import random
import sys
import types
import typing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pydantic

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


class Planet(enum.Enum):
    EARTH = (5.97e24, 6.37e6)
    MARS = (6.4e23, 3.4e6)
    HOME = (5.97e24, 6.37e6)  # noqa: PIE796

    def __init__(self, mass: float, radius: float) -> None:
        self.mass, self.radius = mass, radius

    def density(self) -> float:
        return self.mass / self.radius**3


class Labelled(enum.Enum):
    label: str

    def __new__(cls, value: int, label: str) -> Any:
        member = object.__new__(cls)
        member._value_, member.label = value, label
        return member


class Lamp(Labelled):
    RED = 1, "red"
    CRIMSON = 1, "red"
    GREEN = 2, "green"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2
    BOTH = 3


class Size(str, enum.Enum):  # noqa: UP042
    BIG = "big"

    @enum.member
    def computed(self) -> int:
        return 3


class Bytes(bytes, enum.Enum):
    def __new__(cls, value: int) -> Any:
        member = bytes.__new__(cls, [value])
        member._value_ = value
        return member

    THREE = 3


class Plugin:
    known: typing.ClassVar[dict[str, Any]] = {}
    created = 0

    def __init_subclass__(cls, *, tag: str) -> None:
        Plugin.known[cls.__name__] = cls, tag
        Plugin.created += 1


class FirstPlugin(Plugin, tag="first"):
    x = 1


class Registry(type):
    names: typing.ClassVar[list[str]] = []

    def __new__(mcs, name: str, bases: Any, content: Any) -> Any:
        if not name.startswith("M") or not content:
            raise TypeError(name)
        mcs.names.append(name)
        return super().__new__(mcs, name, bases, content)


class MOne(metaclass=Registry):
    y = 2


class Node(pydantic.BaseModel):
    x: int
    below: Node | None = None

    @pydantic.model_validator(mode="after")
    def positive(self) -> Node:
        if self.x < 0:
            raise ValueError("negative")
        return self


class Tree(pydantic.BaseModel):
    nodes: list[Node]


def refused() -> str:
    try:
        Node(x=-1)
    except pydantic.ValidationError as error:
        return f"{error.error_count()}"
    return "accepted"


@dataclasses.dataclass
class Base:
    x: int


def dataclass_of_the_action() -> bool:
    @dataclasses.dataclass
    class Derived(Base):
        y: int

    return Derived(1, 2).y == 2 and dataclasses.fields(Base)[0].default is dataclasses.MISSING


@functools.singledispatch
def with_attributes(thing: object) -> str:
    return "any"


with_attributes.extra = 5  # type: ignore[attr-defined]
random_number = random.random
random_integer = random.randint


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
    "members of an enum": lambda: (Planet.EARTH.density(), list(Planet.__members__)),
    "labels of an enum": lambda: [(lamp.label, lamp.value) for lamp in Lamp.__members__.values()],
    "names of a flag": lambda: (Rights.READ | Rights.WRITE).name,
    "members with a text": lambda: (Size.BIG + "ger", list(Size.__members__)),
    "registry of subclasses": lambda: (
        Plugin.known["FirstPlugin"][0] is FirstPlugin,
        Plugin.created,
        [kind.__name__ for kind in Plugin.__subclasses__()],
    ),
    "registry of a metaclass": lambda: (Registry.names, MOne.y),
    "model": lambda: Node(x=1, below=Node(x=2)).model_dump(),
    "model of models": lambda: Tree(nodes=[Node(x=1)]).model_dump_json(),
    "model refuses": refused,
    "model comes back": lambda: Node(x=1),
    "a dataclass of the action": dataclass_of_the_action,
    "single dispatch with attributes": lambda: with_attributes.extra,  # type: ignore[attr-defined]
    "subclass comes back": lambda: FirstPlugin(),
    "only by its name": lambda: MISSING,
    "an enum with its own members": lambda: bytes(Bytes.THREE),
    "a view": functools.partial(list, memoryview(b"abc")),
    "an open file": lambda file=sys.stdin: file.name,
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
    with load_backend("processes", 2) as backend:
        draws = [Task(f"a{i}", random_number) for i in range(8)]
        draws += [Task(f"b{i}", lambda: random_integer(1, 10**9)) for i in range(8)]
        drawn = run(Graph(draws), backend, keep="all").values
        same = Graph(
            [
                Task("f", lambda: (square, fibonacci, Model)),
                Task("g", lambda them: them == (square, fibonacci, Model), needs=("f",)),
            ]
        )
        is_same = [run(same, backend).values["g"] for _ in range(4)]
        changed = []
        for value in (1, None):
            if value is None:
                del Model.extra  # type: ignore[attr-defined]
            else:
                Model.extra = value  # type: ignore[attr-defined]
            graph = Graph([Task(f"t{i}", lambda: hasattr(Model, "extra")) for i in range(4)])
            changed.append(set(run(graph, backend).values.values()) == {value == 1})
    unregistered = Plugin.created, len(Plugin.__subclasses__()), Registry.names
    types_ = type(report.values["thing"]) is plugin.Thing, type(report.values["model"]) is Model
    return (
        sorted(v for k, v in report.values.items() if k[0] in "xy"),
        types_,
        Model.weight,
        len(set(drawn.values())),
        is_same,
        changed,
        unregistered,
    )


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
