"""The parent's side of `sent.py`: actions on their way to a worker, outcomes on the way back."""

from __future__ import annotations

from time import monotonic

from executors.core.records import Attempt, Call, describe, shown
from executors.core.session import Session
from executors.engines.sent import Performed
from executors.errors import NotPicklable, WorkerDied, without_frames
from executors.pickling.failure import error_of
from executors.pickling.log_records import handle, levels
from executors.pickling.packing import dumps_by_value


class Client:
    """For one run.

    Attributes:
        levels: of the loggers here.
    """

    def __init__(self, session: Session, backend: str) -> None:
        self.levels = levels()
        self._backend = backend
        self._actions: dict[int, bytes] = {}  # pickled, by id: tasks often share one
        self._names: dict[tuple[str, int], str] = {}  # of workers, by process

    def action(self, call: Call) -> bytes:
        """A call's action, pickled by value where it has to be.

        Raises:
            NotPicklable: it cannot be pickled.
        """
        action = call.task.action
        pickled = self._actions.get(id(action))
        if pickled is None:
            try:
                pickled = dumps_by_value(action)
            except (Exception, SystemExit) as error:
                raise NotPicklable(
                    f"task {call.task.name!r}: its action {shown(action)} cannot be pickled:"
                    f" {describe(error)}; use a backend of threads, or create inside the action"
                    " what cannot be pickled"
                ) from error
            self._actions[id(action)] = pickled
        return pickled

    def failed(self, call: Call, sent_s: float, error: BaseException) -> Attempt:
        """The attempt of a call that brought no outcome."""
        if isinstance(error, NotPicklable):
            error = without_frames(error)
        return Attempt(call, self._backend, sent_s, monotonic(), None, error)

    def died(self, call: Call, sent_s: float, why: BaseException) -> Attempt:
        """The attempt of a call that a worker may have had that died."""
        what = f"a worker of {self._backend} died while it had task {call.task.name!r}"
        return self.failed(call, sent_s, WorkerDied(f"{what}: {describe(why)}"))

    def received(self, call: Call, outcome: Performed, host: str = "") -> Attempt:
        """The attempt behind an outcome; handles the records that it brought.

        Args:
            host: where its process is, if processes of several machines could have one number.
        """
        process, started_s, ended_s, cpu_s, value, failure, records = outcome
        name = self._names.get((host, process))
        if name is None:
            name = self._names[host, process] = f"process-{len(self._names)}"
        for record in records or ():
            handle(record, name)
        error = None if failure is None else error_of(failure, call, name)
        used_s = None if cpu_s < 0 else cpu_s
        return Attempt(call, name, started_s, ended_s, value, error, used_s)
