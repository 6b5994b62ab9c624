"""`Body`: what a worker runs in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Protocol

ReturnCode = int | None  # as in subprocess; None if it cannot be known


class Descriptors(NamedTuple):
    """The worker's ends of what connects it with its parent; see `wire.py`."""

    queue: int
    line: int
    reports: int
    wakeup: int
    children: int


class Bodies(Protocol):
    """Makes bodies of one kind; a class of bodies is one."""

    @property
    def kind(self) -> str: ...

    @property
    def is_inside(self) -> bool: ...

    def __call__(self, descriptors: Descriptors, /) -> Body: ...

    def extra_environment(self) -> Mapping[str, str]: ...


class Body(ABC):
    """Runs a worker, from its creation until its pipes are closed.

    Args:
        descriptors: those of the worker; they stay open in the parent, who closes them.

    Attributes:
        kind: of worker, for names and messages.
        pid: of the process that it is in.
        ended: a descriptor that becomes readable when it has ended; -1 if there is none, and the
            end of its reports has to show it.
        is_inside: it is in the program's own process.
        given_up: what `kill` means for the call that it was making, in words.

    Raises:
        OSError: it cannot be started.
    """

    kind: ClassVar[str]
    pid: int
    ended: int = -1
    given_up: ClassVar[str] = "its worker was killed"
    is_inside: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, descriptors: Descriptors) -> None: ...

    @abstractmethod
    def kill(self) -> None:
        """Ends it at once, or gives it up if that cannot be done."""

    @abstractmethod
    def wait(self) -> ReturnCode:
        """Waits for its end, after `kill`; its return code."""

    @abstractmethod
    def wait_for_exit(self, timeout_s: float) -> None:
        """Waits for its end, but not longer than that."""

    @abstractmethod
    def release(self) -> None:
        """Closes the parent's descriptors for it; called once, after its end."""

    @abstractmethod
    def how_it_ended(self, code: ReturnCode) -> str:
        """How it ended, in words."""

    @staticmethod
    def extra_environment() -> Mapping[str, str]:
        """What it is started with beyond the program's environment."""
        return {}
