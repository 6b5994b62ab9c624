"""One task after the other in the calling thread: the baseline of every speedup."""

from __future__ import annotations

from contextvars import copy_context
from math import inf
from time import monotonic
from typing import ClassVar

from executors.backends.base import Backend, attempt, in_time
from executors.backends.meter import CpuMeter
from executors.core.session import Session
from executors.gate import Gate


class Sequential(Backend):
    """Always has one worker, the calling thread, regardless of `workers`.

    A task that overruns its `timeout_s` is noticed only when it returns; its value is then dropped
    and the attempt counts as failed, as on the other backends.
    """

    name: ClassVar[str] = "sequential"

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self.workers = 1
        self._woken = Gate()

    def drive(self, session: Session) -> None:
        meter = CpuMeter()
        due_s = meter.begin() if session.measure_cpu else inf
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
            outcome = copy_context().run(attempt, call, "main")
            now_s = outcome.ended_s
            if now_s >= due_s:
                outcome.cpu_s = meter.end(outcome.started_s, now_s)
                due_s = meter.due_s
            if call.task.timeout_s is not None:
                in_time(call, outcome)
            session.finish(outcome, now_s)

    def wake(self) -> None:
        self._woken.open()
