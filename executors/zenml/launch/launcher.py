"""`Launcher`: makes attempts of the steps of one run; a subclass for each place they can run in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import ClassVar


class Launcher(ABC):
    """Makes attempts of steps, from several threads at once.

    Args:
        names: of the steps.

    Attributes:
        is_shared: steps share a process, and with it its environment variables.
        grace_s: seconds that a step has to end by itself after a stop.
        kill_s: seconds that it takes to end it then.
        times_s: seconds of all attempts of each step, without waiting for workers or other runs.
    """

    is_shared: ClassVar[bool] = True
    grace_s: ClassVar[float]
    kill_s: ClassVar[float] = 0.0

    def __init__(self, names: Iterable[str]) -> None:
        self.times_s = dict.fromkeys(names, 0.0)

    @abstractmethod
    def launch(self, name: str, *needs: None) -> None:
        """Makes one attempt of a step; blocks until it has ended.

        Raises:
            StepNotStarted: the run was stopped before.
            TaskStopped: the run was stopped meanwhile.
            BaseException: what the step has raised.
        """

    @abstractmethod
    def leave(self) -> None:
        """Called when the run is over; steps that were given up may still be launched."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time that passes to that of a step."""
        started_s = monotonic()
        try:
            yield
        finally:
            self.times_s[name] += monotonic() - started_s
