"""ray: tasks get the references of what they need, so ray schedules the graph and moves the values.

ray starts on this machine. A task has two results: what became of it, and its value. Which attempts
have begun is noted in a `Ledger`, because ray does not say; a file in its folder is the gate: once
it is gone, nothing begins any more.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any, ClassVar

from executors.backends.base import Backend, Feature, features_of, stopped, timed_out
from executors.core.records import Attempt, Call, describe
from executors.core.session import Session
from executors.engines import missing
from executors.engines.ledger import Ledger, State
from executors.engines.sent import (
    PLAIN,
    Held,
    Missing,
    Performed,
    perform_in_time,
    perform_sent,
    small,
)
from executors.engines.whole import Following
from executors.errors import BackendError, NotPicklable, WorkerDied
from executors.pickling.failure import VALUE_OF, Failure, failure_of
from executors.pickling.raised import qualified

WAITS = {Feature.SLOTS, Feature.CONTEXTS}
WINDOW = 64  # calls, the most urgent ones, that are waited for
TICK_S = 0.1  # ray's wait cannot be left
GATE = "open"
LEFT = "its worker was killed"

# What became of an attempt: it did not begin, or took too long, or what it performed.
NOT_BEGUN, OVERDUE = "not begun", "overdue"


class Ray(Backend):
    """ray on this machine, with as many CPUs as workers.

    Args:
        workers: how many tasks may run at once; None means `usable_cpus()`.
        grace_s: seconds that running tasks have to end after a stop.
    """

    name: ClassVar[str] = "ray"
    is_default: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("ray",)
    start_guess_s: ClassVar[float] = 5.0

    def __init__(self, workers: int | None = None, *, grace_s: float = 1.0) -> None:
        super().__init__(workers)
        self.grace_s = grace_s
        self.perform: Any = None
        self._folder = ""

    @classmethod
    def unavailable(cls) -> str | None:
        return missing("ray", "ray")

    def open(self) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        if ray.is_initialized():
            raise BackendError("ray runs already in this program; call ray.shutdown() first")
        self._folder = tempfile.mkdtemp(prefix="executors-ray-")
        try:
            ray.init(
                num_cpus=self.workers,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                _system_config={"enable_worker_prestart": True},
            )
            remote: Any = ray.remote
            self.perform = remote(num_cpus=1, num_returns=2, max_retries=0)(perform)
            nothing = b"", b"", (-1, False, None)
            ray.get([self.perform.remote(*nothing)[0] for _ in range(self.workers)])
        except Exception as error:
            self.close()
            raise BackendError(f"ray cannot start: {describe(error)}") from error

    def close(self) -> None:
        import ray

        ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wake(self) -> None:
        pass  # it looks often enough

    def drive(self, session: Session) -> None:
        folder = tempfile.mkdtemp(dir=self._folder)
        try:
            _Driving(self, session, folder).drive()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def unwrap(self, value: Any) -> Any:
        return value.value


class _Ref:
    """A value as the session has it: ray's reference, and the value if it is wanted here."""

    __slots__ = ("reference", "value")

    def __init__(self, reference: Any, value: Any) -> None:
        self.reference = reference
        self.value = value


class _Driving:
    """One run."""

    def __init__(self, backend: Ray, session: Session, folder: str) -> None:
        self._backend = backend
        self._session = session
        self._following = Following(session, backend.name)
        self._goes_ahead = not features_of(session.graph) & WAITS
        self._gate = Path(folder) / GATE
        self._gate.touch()
        self._ledger = Ledger(folder)
        header = folder, self._following.client.levels, session.measure_cpu
        self._header = pickle.dumps(header)
        self._next = 0
        # By number, in flight and as they were submitted: call, what becomes of it, value.
        self._calls: dict[int, tuple[Call, Any, Any]] = {}
        self._values: dict[int, Any] = {}  # references, by rank, of those in flight
        self._started: set[int] = set()
        self._stop_by_s: float | None = None

    def drive(self) -> None:
        session = self._session
        try:
            while True:
                now_s = monotonic()
                session.overdue(now_s)  # workers notice timeouts themselves
                if session.stop_reason is None:
                    self._submit(now_s)
                else:
                    self._wind_up(now_s)
                if session.over:
                    return
                self._wait(now_s)
        finally:
            self._ledger.close()

    def _submit(self, now_s: float) -> None:
        following = self._following
        for call in following.take(now_s, self._goes_ahead):
            if following.calls.get(call.rank) is not call:
                continue  # a task that it needs could not be sent
            try:
                action = following.client.action(call)
            except NotPicklable as error:
                following.failed(call.rank, error)
                continue
            number, self._next = self._next, self._next + 1
            order = number, call.rank in self._session.kept, call.task.timeout_s
            needs = [
                self._values[need] if need in self._values else call.values[need].reference
                for need in call.needs
            ]
            outcome, value = self._backend.perform.remote(self._header, action, order, *needs)
            self._calls[number] = call, outcome, value
            self._values[call.rank] = value

    def _wait(self, now_s: float) -> None:
        import ray

        wait_s = TICK_S
        for at_s in (self._session.wake_at_s, self._stop_by_s):
            if at_s is not None:
                wait_s = min(wait_s, max(0.0, at_s - now_s))
        if not self._calls:
            sleep(wait_s)
            return
        window = islice(self._calls.items(), WINDOW)
        numbers = {outcome: number for number, (_, outcome, _) in window}
        ended, _ = ray.wait(list(numbers), num_returns=1, timeout=wait_s)
        if ended and len(numbers) > 1:
            ended, _ = ray.wait(list(numbers), num_returns=len(numbers), timeout=0)
        for outcome in ended:
            self._ended(numbers[outcome], outcome)
        if not ended:
            self._announce()

    def _announce(self) -> None:
        """Notices which attempts have begun and are not over soon."""
        for number, (call, _, _) in list(self._calls.items())[:WINDOW]:
            if number not in self._started and self._ledger.state(number) is State.BEGUN:
                self._start(number, call)

    def _start(self, number: int, call: Call) -> None:
        if number not in self._started:
            self._started.add(number)
            self._following.started(call.rank)

    def _ended(self, number: int, outcome: Any) -> None:
        import ray

        call, _, value = self._calls.pop(number)
        self._values.pop(call.rank, None)
        following = self._following
        if following.calls.get(call.rank) is not call:
            return  # put back, because a task that it needs has failed
        try:
            what = ray.get(outcome)
        except Exception as error:
            self._start(number, call)
            following.died([call.rank], error)
            return
        if what == NOT_BEGUN:
            following.finish(call.rank, None)
            return
        self._start(number, call)
        if what == OVERDUE:
            late = timed_out(call, "its thread may still be running it")
            following.finish(call.rank, following.client.failed(call, monotonic(), late))
            return
        process, started_s, ended_s, cpu_s, packed, wrong, records = what
        failure = None if wrong is None else Failure(*wrong)
        performed = process, started_s, ended_s, cpu_s, None, failure, records
        attempt = following.client.received(call, performed)
        if failure is None:
            self._take_value(call, attempt, value, packed)
        following.finish(call.rank, attempt)

    def _take_value(self, call: Call, attempt: Attempt, value: Any, packed: bytes | None) -> None:
        import ray

        if call.rank not in self._session.kept:
            attempt.value = _Ref(value, None)
            return
        try:
            here = ray.get(value) if packed is None else pickle.loads(packed)
            attempt.value = _Ref(value, here.value if isinstance(here, Held) else here)
        except Exception as error:
            name = call.task.name
            attempt.error = WorkerDied(f"the value of task {name!r} is lost: {describe(error)}")

    def _wind_up(self, now_s: float) -> None:
        """Takes back what has not begun; after a stop, kills what goes on for too long."""
        import ray

        if self._stop_by_s is None:
            self._gate.unlink()
            self._stop_by_s = now_s + self._backend.grace_s
            for number, (call, _, _) in list(self._calls.items()):
                if self._ledger.state(number) is State.NEW:  # ray.cancel might hit another task
                    del self._calls[number]
                    self._following.finish(call.rank, None)
        if self._session.stopping and now_s >= self._stop_by_s:
            for number, (call, outcome, _) in list(self._calls.items()):
                ray.cancel(outcome, force=True)
                del self._calls[number]
                self._start(number, call)
                error = stopped(call, self._session, LEFT)
                attempt = self._following.client.failed(call, monotonic(), error)
                self._following.finish(call.rank, attempt)


# -- in a worker ------------------------------------------------------------------------------

_runs: dict[bytes, tuple[Ledger, Path, dict[str, int], bool]] = {}


def perform(header: bytes, action: bytes, order: tuple[Any, ...], *arguments: Any) -> Any:
    """What ray calls for a task; what became of it, and its value."""
    number, sends, timeout_s = order
    if number < 0:
        return NOT_BEGUN, None
    try:
        ledger, gate, levels, is_metered = _run(header)
    except FileNotFoundError:  # the run is over
        return NOT_BEGUN, Missing(False)
    if any(argument.__class__ is Missing for argument in arguments):
        return NOT_BEGUN, Missing(False)
    ledger.begin(number)
    if not gate.exists():
        return NOT_BEGUN, Missing(False)
    values = [argument.value if argument.__class__ is Held else argument for argument in arguments]
    job = action, values, levels, is_metered
    done = perform_sent(*job) if timeout_s is None else perform_in_time(timeout_s, *job)
    if done is None:
        return OVERDUE, Missing(False)
    return _split(done, sends)


def _split(done: Performed, sends: bool) -> tuple[Any, Any]:
    process, started_s, ended_s, cpu_s, value, failure, records = done
    pickled: bytes | None = None
    if failure is None and (sends or value.__class__ not in PLAIN):
        try:
            pickled = small(value)
        except Exception as error:
            failure = failure_of(VALUE_OF, qualified(type(value)), error)
    wrong = None if failure is None else tuple(failure)
    outcome = process, started_s, ended_s, cpu_s, pickled if sends else None, wrong, records
    if failure is not None:
        return outcome, Missing(False)
    return outcome, value if value.__class__ in PLAIN else Held(value)


def _run(header: bytes) -> tuple[Ledger, Path, dict[str, int], bool]:
    run = _runs.get(header)
    if run is None:
        folder, levels, is_metered = pickle.loads(header)
        run = Ledger(folder), Path(folder) / GATE, levels, is_metered
        for ledger, *_ in _runs.values():
            ledger.close()
        _runs.clear()
        _runs[header] = run
    return run
