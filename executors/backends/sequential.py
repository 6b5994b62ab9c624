"""One task after the other in the calling thread: the baseline of every speedup."""

from __future__ import annotations

from time import monotonic
from typing import ClassVar

from executors.backends.base import Backend, attempt
from executors.errors import TaskTimeout
from executors.gate import Gate
from executors.session import Session


class Sequential(Backend):
    """Has one worker, the calling thread, whatever `workers` says.

    A task that is longer than its `timeout_s` is noticed only when it returns; its value is
    then dropped and the attempt counts as failed, as it does on the other backends.
    """

    name: ClassVar[str] = "sequential"

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self.workers = 1
        self._woken = Gate()

    def drive(self, session: Session) -> None:
        now_s = monotonic()
        while True:
            call = session.take(now_s)
            if call is None:
                if session.over:
                    return
                wake_at_s = session.wake_at_s
                self._woken.wait(None if wake_at_s is None else wake_at_s - now_s)
                now_s = monotonic()
                continue
            session.started(call, now_s)
            made = attempt(call, "main")
            timeout_s = call.task.timeout_s
            if timeout_s is not None and made.error is None and made.duration_s > timeout_s:
                made.value = None
                made.error = TaskTimeout(
                    f"task {call.task.name!r} took {made.duration_s:.3g} s, longer than its"
                    f" timeout of {timeout_s:g} s (noticed when it returned)"
                )
            now_s = made.ended_s
            session.finish(made, now_s)

    def wake(self) -> None:
        self._woken.open()
