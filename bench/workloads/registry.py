"""Things by name: those of this package, and entry points of other packages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench import BenchError
from executors.core.records import describe

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

logger = logging.getLogger("bench")

Thing = TypeVar("Thing")


class Registry(MutableMapping[str, Thing], Generic[Thing]):
    """Things by name; another package's is imported when it is first looked up.

    Args:
        group: of the entry points.
        what: one of the things, in words.
        accept: turns what an entry point gives into a thing; raises TypeError if it cannot.
    """

    def __init__(self, group: str, what: str, accept: Callable[[str, Any], Thing]) -> None:
        self._group = group
        self._what = what
        self._accept = accept
        self._things: dict[str, Thing] = {}
        self._points: dict[str, EntryPoint] | None = None

    def __setitem__(self, name: str, thing: Thing) -> None:
        self._things[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._things[name]

    def __getitem__(self, name: str) -> Thing:
        if name not in self._things:
            self._things[name] = self._load(self._others()[name])
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in self._others()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._things, *self._others()]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _load(self, point: EntryPoint) -> Thing:
        try:
            return self._accept(point.name, point.load())
        except (Exception, SystemExit) as error:
            raise BenchError(
                f"{self._what} {point.name!r} ({point.value}) cannot be used: {describe(error)}"
            ) from error

    def _others(self) -> dict[str, EntryPoint]:
        """Those of other packages; without all of them if one cannot be read."""
        if self._points is None:
            from importlib.metadata import entry_points  # workers do not need it

            try:
                points = list(entry_points(group=self._group))
            except Exception as error:
                logger.warning(
                    "entry points of %s cannot be read: %s", self._group, describe(error)
                )
                points = []
            self._points = {point.name: point for point in points}
        return self._points
