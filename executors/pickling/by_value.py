"""Pickles that need nothing of the program's `__main__`: functions and classes by value.

cloudpickle does most of it. Here is what it leaves to names that another process does not know:
functions with a cache, types made by `typing`, modules loaded by path. What can only be pickled by
such a name is refused, since a worker would find something else there, or nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import io
import pickle
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import cloudpickle
from cloudpickle.cloudpickle import _dynamic_class_reduce

from executors.core.records import shown
from executors.errors import NotPicklable
from executors.imports import modules
from executors.pickling.definitions import (
    CACHED,
    Place,
    at,
    cached,
    cached_property,
    code,
    dispatching,
    made,
    made_enum,
    set_attributes,
    set_enum_state,
    settle,
    token_of,
)

Reduced = tuple[Any, ...]
_METHODS = (MethodType, BuiltinMethodType)
_COMPILED = {
    "__pydantic_core_schema__",
    "__pydantic_serializer__",
    "__pydantic_validator__",
    "__signature__",
}
_OF_MEMBERS = {"_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_"}
_SIMPLE = (object, bool, int, float, str, bytes, tuple)  # data types of enums
_DISPATCHING = functools.singledispatch(shown).__code__  # type: ignore[attr-defined]


def dumps_by_value(
    thing: Any,
    reduce_error: Callable[[BaseException], Reduced],
    buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
) -> bytes:
    """Pickles so that unpickling needs nothing that only this process can import.

    Args:
        reduce_error: how to pickle exceptions.

    Raises:
        Exception: whatever pickling raises.
    """
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=5, buffer_callback=buffer_callback)
    pickler.reduce_error = reduce_error
    pickler.dump(thing)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    reduce_error: Callable[[BaseException], Reduced]

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        if kind is FunctionType or issubclass(kind, type):
            return self._definition(thing)
        if kind is ModuleType:
            return self._module(thing)
        if isinstance(thing, BaseException):
            return self.reduce_error(thing)
        if kind in _BY_VALUE:
            return self._by_value(thing, *_BY_VALUE[kind](thing))
        if kind in _METHODS:
            return _method(thing)
        if _is_plain(kind):
            return NotImplemented
        return self._by_its_own_reduce(thing)

    def _definition(self, thing: Any) -> Any:
        """A function or class."""
        if type(thing) is FunctionType and thing.__code__ is _DISPATCHING:
            return self._by_value(thing, dispatching, *_implementations(thing))
        place = _place_of(thing)
        if place is None:
            reduction = super().reducer_override(thing)
        elif modules.is_importable(place.module):
            return super().reducer_override(thing)
        elif (there := self._in_file(place)) is not None:
            return there
        elif isinstance(thing, type):
            reduction = _dynamic_class_reduce(thing)
        else:
            reduction = self._dynamic_function_reduce(thing)
        is_class = isinstance(thing, type)
        if not is_class and place is None:
            return reduction
        if not isinstance(reduction, tuple) or len(reduction) != 6:
            return reduction  # a class of Python's own, by a name
        make, arguments, state, _, _, set_state = reduction
        if is_class and issubclass(thing, enum.Enum):
            make, arguments, set_state, state = _enum(thing, set_state, state)
        if hasattr(thing, "model_rebuild"):  # of pydantic: `settle` makes them again
            state = {name: state[0][name] for name in state[0].keys() - _COMPILED}, state[1]
        return _settled(place, thing, make, arguments, set_state, state)

    def _by_value(
        self, thing: Any, make: Callable[..., Any], arguments: Reduced, attributes: Any = None
    ) -> Any:
        place = _place_of(thing)
        if place is not None:
            if modules.is_importable(place.module):
                return NotImplemented
            there = self._in_file(place)
            if there is not None:
                return there
        set_state = set_attributes if attributes else None
        return _settled(place, thing, make, arguments, set_state, attributes)

    def _in_file(self, place: Place) -> Any:
        """What a module has that was loaded by path; None if it was not."""
        module = sys.modules[place.module]
        return (at, (module, place.name)) if modules.can_be_loaded(module) else None

    def _module(self, module: ModuleType) -> Any:
        name = module.__name__
        if sys.modules.get(name) is not module or modules.is_importable(name):
            return super().reducer_override(module)
        if not modules.can_be_loaded(module):
            raise NotPicklable(
                f"module {name!r} cannot be imported in a worker process; use its functions,"
                " not the module itself"
            )
        locations = getattr(module, "__path__", None)
        if locations is not None:
            locations = [str(Path(folder).absolute()) for folder in locations]
        parents = [sys.modules[parent] for parent in [name.rpartition(".")[0]] if parent]
        file = str(Path(str(modules.file_of(module))).absolute())
        return modules.load_file, (name, file, locations, *parents)

    def _by_its_own_reduce(self, thing: Any) -> Any:
        if isinstance(thing, (memoryview, io.IOBase)):  # cloudpickle would send something else
            instead = "send bytes(view)" if type(thing) is memoryview else "open it in the action"
            raise NotPicklable(f"{shown(thing)} cannot be sent; {instead}")
        reduce = self.dispatch_table.get(type(thing))
        reduction = reduce(thing) if reduce else thing.__reduce_ex__(5)
        if isinstance(thing, CodeType):
            return code, (thing.co_filename, reduction[1])
        if isinstance(reduction, str):
            module = pickle.whichmodule(thing, reduction)  # type: ignore[attr-defined]
            if not modules.is_importable(module):
                raise NotPicklable(
                    f"{shown(thing)} is pickled by its name, {module}.{reduction}, which a worker"
                    " process cannot import; define it in a module that the program imports"
                )
        return reduction


def _settled(
    place: Place | None,
    thing: Any,
    make: Callable[..., Any],
    arguments: Reduced,
    set_state: Callable[..., Any] | None,
    state: Any,
) -> Reduced:
    outer = None if place is None else place.outer.content
    token = token_of(thing) if isinstance(thing, type) else None
    name = getattr(thing, "__qualname__", "")
    return (
        made,
        (place, token, make, arguments),
        (place, outer, name, set_state, state),
        None,
        None,
        settle,
    )


def _place_of(thing: Any) -> Place | None:
    """Where its module has it, or None if it is not there."""
    module = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if not (isinstance(module, str) and isinstance(name, str)):
        return None
    place = Place(module, name)
    return place if place.content is thing else None


def _is_plain(kind: type) -> bool:
    """Whether objects of this type are pickled as most are: by class and attributes."""
    reductions: tuple[object, object] = kind.__reduce_ex__, kind.__reduce__
    return (
        reductions == (object.__reduce_ex__, object.__reduce__)
        and kind not in cloudpickle.Pickler.dispatch_table
    )


# -- what Python pickles by name only: how it is made, from what, and further attributes ----------


def _method(thing: Any) -> Any:
    """A method that a module has under its name, such as `random.random`: by that name.

    By value, its object would come with it: each task would draw the same numbers.
    """
    name: str = thing.__name__
    for place in (getattr(thing, "__module__", None), type(thing.__self__).__module__):
        module = sys.modules.get(place or "")
        if module is not None and getattr(module, name, None) is thing:
            return at, (module, name)
    return NotImplemented


def _enum(
    kind: Any, set_state: Callable[..., Any], state: tuple[dict[str, Any], Any]
) -> tuple[Callable[..., Any], Reduced, Callable[..., Any], Any]:
    """How an enum is made, from what, and how it gets its state.

    Raises:
        NotPicklable: its members cannot be made from their values alone.
    """
    data = kind._member_type_
    new = getattr(kind, "__new_member__", None)
    has_own_new = new is not None and new.__module__ != "enum"
    if data not in _SIMPLE or (data is not object and has_own_new):
        raise NotPicklable(
            f"{shown(kind)} makes its members in its own way, so it cannot be sent; define it in a"
            " module that the program imports"
        )
    members = {name: member.value for name, member in kind.__members__.items()}
    attributes = {name: value for name, value in state[0].items() if name not in members}
    own = {
        name: {key: value for key, value in vars(member).items() if key not in _OF_MEMBERS}
        for name, member in kind.__members__.items()
    }
    arguments = type(kind), kind.__bases__, kind.__name__, members
    return made_enum, arguments, set_enum_state, (attributes, set_state, own)


def _cached(thing: Any) -> tuple[Any, ...]:
    attributes = {
        name: value
        for name, value in vars(thing).items()
        if name not in ("__wrapped__", "cache_parameters")
    }
    return cached, (thing.__wrapped__, thing.cache_parameters()), attributes


def _implementations(function: Any) -> tuple[Any, ...]:
    others = dict(function.registry)
    attributes = vars(function).keys() - vars(functools.singledispatch(shown)).keys()
    return (others.pop(object), others), {name: vars(function)[name] for name in attributes}


def _new_type(thing: Any) -> tuple[Any, ...]:
    place = {"__module__": thing.__module__}
    return typing.NewType, (thing.__name__, thing.__supertype__), place


def _typing_maker(kind: type, *names: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda thing: (kind, tuple(getattr(thing, name) for name in names))


_BY_VALUE: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    CACHED: _cached,
    type(dataclasses.MISSING): lambda _: (at, (dataclasses, "MISSING")),
    functools.cached_property: lambda thing: (cached_property, (thing.func, thing.attrname)),
    typing.NewType: _new_type,
    typing.ParamSpec: _typing_maker(typing.ParamSpec, "__name__"),
    typing.TypeVarTuple: _typing_maker(typing.TypeVarTuple, "__name__"),
}
if sys.version_info >= (3, 12):
    from executors.pickling.definitions import alias

    _BY_VALUE[typing.TypeAliasType] = lambda thing: (
        alias,
        (thing.__name__, thing.__value__, thing.__type_params__),
    )
