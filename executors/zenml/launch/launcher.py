"""`Launcher`: makes attempts of the steps of one run; a subclass for each place they can run in."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from executors.errors import TaskError, TaskStopped
from executors.zenml.process.interrupts import StepNotStarted
from executors.zenml.store import updates

if TYPE_CHECKING:
    from uuid import UUID

logger = logging.getLogger(__name__)


class Launcher(ABC):
    """Makes attempts of steps, from several threads at once.

    Args:
        run_id: id of the pipeline run.
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

    def __init__(self, run_id: UUID, names: Iterable[str]) -> None:
        self.times_s = dict.fromkeys(names, 0.0)
        self._run_id = run_id
        self._attempts: Counter[str] = Counter()

    def launch(self, name: str, *needs: None) -> None:
        """Makes one attempt of a step; blocks until it has ended, which the store knows then.

        Raises:
            StepNotStarted: the run was stopped before.
            TaskStopped: the run was stopped meanwhile.
            BaseException: what the step has raised.
        """
        self._attempts[name] += 1
        try:
            self._launch(name)
        except (StepNotStarted, TaskStopped):
            raise
        except Exception as error:
            if not (self._was_completed(name, error) and isinstance(error, TaskError)):
                raise

    def _was_completed(self, name: str, error: Exception) -> bool:
        """Tells the store of a failure, if need be; whether the step was completed before it."""
        try:
            return updates.publish_failure(self._run_id, name, self._attempts[name], error)
        except Exception:
            logger.warning("ZenML's store was not told how step `%s` ended", name, exc_info=True)
            return False

    @abstractmethod
    def _launch(self, name: str) -> None:
        """As `launch`; the store may not know of a failure."""

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
