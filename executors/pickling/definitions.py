"""Functions and classes of a program, at their place in another process.

A worker never imports the program's `__main__`; what it needs of it arrives by value. Here that is
put into the worker's own `__main__`, under the same names. So an action can itself pickle things of
`__main__`, or start a pool that does. On the way back, the program finds its own functions and
classes again instead of copies. `by_value.py` writes the pickles that call these functions.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from executors.imports import modules

CACHED = type(functools.cache(lambda: None))


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
_classes_sent: WeakValueDictionary[int, type] = WeakValueDictionary()  # of this process, by id
_classes_arrived: WeakValueDictionary[int, type] = WeakValueDictionary()


def sending(kind: type) -> None:
    """Notes that a class was sent: when it comes back, it is not to be changed."""
    if _classes_arrived.get(id(kind)) is not kind:
        _classes_sent[id(kind)] = kind


def made(place: Place | None, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The thing at that place if it is this process's own, else a new one."""
    if place is not None and place.is_own:
        own = place.content
        if type(own) is make or _is_made_of(own, arguments[0]):
            return own
    return make(*arguments)


def _is_made_of(own: Any, origin: Any) -> bool:
    """Whether a function has that code, or wraps that function."""
    codes = {_code(own), _code(getattr(own, "__wrapped__", None))} - {None}
    return origin in codes or _code(origin) in codes


def _code(thing: Any) -> Any:
    return getattr(thing, "__code__", None)


def settle(
    thing: Any, state: tuple[Place | None, Any, str, Callable[..., Any] | None, Any]
) -> None:
    """Sets the state of a thing that was made, and puts it at its place.

    Nothing happens if the thing is this process's own.

    Args:
        state: the place; what is at its outer place, so that it is there as well; `__qualname__`
            of a class; a function that sets the state, and its argument.
    """
    place, _, name, set_state, inner = state
    if isinstance(thing, type):
        if _classes_sent.get(id(thing)) is thing:
            return
        _classes_arrived[id(thing)] = thing
        thing.__qualname__ = name
    elif place is not None and place.is_own and place.content is thing:
        return
    if set_state is not None:
        set_state(thing, inner)
    if place is not None and place.outer == place:
        setattr(modules.make(place.module), place.name, thing)
        _arrived[place] = thing


def has_arrived(thing: Any) -> bool:
    """Whether a thing came by value, so that it is another one each time."""
    place = Place(getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", ""))
    return place.outer in _arrived


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


def cached_property(function: Callable[..., Any], name: str | None) -> Any:
    """A `functools.cached_property`, which has a lock before Python 3.12."""
    made = functools.cached_property(function)
    made.attrname = name
    return made
