"""Functions and classes of a program, at their place in another process.

A worker never imports the program's `__main__`; what it needs of it arrives by value. Here that is
put into the worker's own `__main__`, under the same names. So an action can itself pickle things of
`__main__`, or start a pool that does. `by_value.py` writes the pickles that call these functions.

An action defines what it brings along anew. A value defines only what this process does not have
yet: a worker keeps the functions and classes of the action that reads the value, and the program
finds its own again.
"""

from __future__ import annotations

import enum
import functools
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType
from typing import Any, NamedTuple
from uuid import uuid4
from weakref import WeakValueDictionary

from executors.imports import modules

CACHED = type(functools.cache(lambda: None))
HOOKS = ("__init_subclass__", "__new__", "__init__", "__call__", "__prepare__")


class Place(NamedTuple):
    """Where a program has a function, class or other thing: `sys.modules[module].name`."""

    module: str
    name: str

    @property
    def outer(self) -> Place:
        """The place of the outermost class around it, or itself."""
        return Place(self.module, self.name.partition(".")[0])

    @property
    def content(self) -> Any:
        """What is there now; None if there is nothing."""
        found: Any = sys.modules.get(self.module)
        for part in self.name.split("."):
            found = getattr(found, part, None)
        return found

    @property
    def is_own(self) -> bool:
        """Whether this process has something there that did not arrive by value."""
        outer = self.outer.content
        return outer is not None and _arrived.get(self.outer) is not outer


_arrived: dict[Place, Any] = {}  # what was put at its place here
_classes: WeakValueDictionary[str, type] = WeakValueDictionary()  # by token
_tokens: dict[int, str] = {}  # of these classes, by id
_attributes: dict[str, set[str]] = {}  # of the classes that arrived, by token
_unsettled: WeakValueDictionary[int, Any] = WeakValueDictionary()  # made, without state; by id
_is_defining = False


@contextmanager
def defining() -> Iterator[None]:
    """While it lasts, things that arrive replace those that arrived before."""
    global _is_defining
    _is_defining = True
    try:
        yield
    finally:
        _is_defining = False


def token_of(kind: type) -> str:
    """What stands for a class in all processes."""
    token = _tokens.get(id(kind), "")
    if _classes.get(token) is not kind:
        token = _tokens[id(kind)] = uuid4().hex
        _classes[token] = kind
    return token


def made(
    place: Place | None, token: str | None, make: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """The function or class that this process has already, or a new one.

    Args:
        token: of a class.
    """
    if token is not None:
        kind = _classes.get(token)
        if kind is None:
            with _without_hooks(arguments):
                kind = make(*arguments)
            _tokens[id(kind)] = token
            _classes[token] = kind
            _unsettled[id(kind)] = kind
        elif token in _attributes and _is_defining:
            _unsettled[id(kind)] = kind
        return kind
    if place is not None and (place.is_own or not _is_defining):
        thing = place.content
        if thing is not None and (type(thing) is make or _is_made_of(thing, arguments[0])):
            return thing
    thing = make(*arguments)
    _unsettled[id(thing)] = thing
    return thing


def _is_made_of(thing: Any, origin: Any) -> bool:
    """Whether a function has that code, or wraps that function."""
    codes = {_code(thing), _code(getattr(thing, "__wrapped__", None))} - {None}
    return origin in codes or _code(origin) in codes


def _code(thing: Any) -> Any:
    return getattr(thing, "__code__", None)


@contextmanager
def _without_hooks(arguments: tuple[Any, ...]) -> Iterator[None]:
    """Hides what classes that arrived do when a class is created.

    The program has done that when it created the class, and the outcome arrives with the state.
    """
    kinds = [one for argument in arguments for one in (argument, *_items(argument))]
    kinds = [one for one in kinds if isinstance(one, type)]
    above = {id(one): one for kind in kinds for one in (*kind.__mro__, *type(kind).__mro__)}
    hidden = []
    for kind in above.values():
        if _tokens.get(id(kind)) in _attributes:
            names = HOOKS if issubclass(kind, type) else HOOKS[:1]
            hidden += [(kind, name, vars(kind)[name]) for name in names if name in vars(kind)]
    for kind, name, _ in hidden:
        type.__delattr__(kind, name)
    try:
        yield
    finally:
        for kind, name, hook in hidden:
            type.__setattr__(kind, name, hook)


def _items(argument: Any) -> tuple[Any, ...]:
    return argument if isinstance(argument, tuple) else ()


def settle(
    thing: Any, state: tuple[Place | None, Any, str, Callable[..., Any] | None, Any]
) -> None:
    """Sets the state of a thing that was made, and puts it at its place.

    Nothing happens if this process had the thing already.

    Args:
        state: the place; what is at its outer place, so that it is there as well; `__qualname__`
            of a class; a function that sets the state, and its argument.
    """
    if _unsettled.pop(id(thing), None) is None:
        return
    place, _, name, set_state, inner = state
    if isinstance(thing, type):
        _settle_class(thing, name, set_state, inner)
    elif set_state is not None:
        set_state(thing, inner)
    if place is not None and place.outer == place:
        setattr(modules.make(place.module), place.name, thing)
        _arrived[place] = thing
    if isinstance(thing, type) and hasattr(thing, "model_rebuild"):  # a model of pydantic
        thing.model_rebuild(force=True, raise_errors=False)


def _settle_class(
    kind: type, name: str, set_state: Callable[..., Any] | None, state: tuple[Any, ...]
) -> None:
    kind.__qualname__ = name
    names = set(state[0])
    token = token_of(kind)
    for gone in _attributes.get(token, names) - names:
        type.__delattr__(kind, gone)
    _attributes[token] = names
    if set_state is not None:
        set_state(kind, state)


def has_arrived(thing: Any) -> bool:
    """Whether a thing came by value, so that it is another one each time."""
    place = Place(getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", ""))
    return place.outer in _arrived


# -- how things are made --------------------------------------------------------------------------


def at(module: Any, name: str) -> Any:
    """What a module has under a name; with dots for something inside a class.

    Raises:
        AttributeError: nothing.
    """
    return functools.reduce(getattr, name.split("."), module)


def cached(function: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """A function with an empty `functools.lru_cache`."""
    return functools.lru_cache(**parameters)(function)


def set_attributes(thing: Any, attributes: Mapping[str, Any]) -> None:
    """Sets what else a thing has in its `__dict__`."""
    vars(thing).update(attributes)


def dispatching(default: Callable[..., Any], others: Mapping[type, Callable[..., Any]]) -> Any:
    """A `functools.singledispatch` function."""
    function = functools.singledispatch(default)
    for kind, implementation in others.items():
        function.register(kind, implementation)
    return function


def made_enum(
    kind: type[enum.EnumMeta], bases: tuple[Any, ...], name: str, members: Mapping[str, Any]
) -> Any:
    """An enum with these values, by name; aliases have the values of their members."""
    content: Any = kind.__prepare__(name, bases)
    content["__init__"] = lambda *_: None  # what it set in the members arrives with the state
    if bases[-1]._member_type_ is object and len(bases) == 1:
        content["__new__"] = lambda cls, *_: object.__new__(cls)
    for member, value in members.items():
        content[member] = enum.member(value)
    made: Any = kind.__new__(kind, name, bases, content)
    for own in ("__init__", "__new_member__"):
        if own in vars(made):
            type.__delattr__(made, own)
    return made


def set_enum_state(kind: Any, state: tuple[Any, ...]) -> None:
    """Sets what an enum has besides its members, and what these have besides their values."""
    attributes, set_state, values = state
    set_state(kind, (attributes, {}))
    for member, own in values.items():
        vars(kind.__members__[member]).update(own)


def code(filename: str, arguments: tuple[Any, ...]) -> CodeType:
    """A code object whose tracebacks show lines of that file."""
    return CodeType(*arguments).replace(co_filename=filename)


def cached_property(function: Callable[..., Any], name: str | None) -> Any:
    """A `functools.cached_property`, which has a lock before Python 3.12."""
    made = functools.cached_property(function)
    made.attrname = name
    return made


if sys.version_info >= (3, 12):

    def alias(name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
        """What `type name[parameters] = value` makes."""
        return typing.TypeAliasType(name, value, type_params=parameters)
