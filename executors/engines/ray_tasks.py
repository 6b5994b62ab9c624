"""ray: tasks get the references of what they need, so ray schedules the graph and moves the values.

ray starts on this machine. A task's result is what became of it, and its value, which is a
reference itself if it is large: so the program gets only what it keeps. Which attempts
have begun is noted in a `Ledger`, because ray does not say; a file in its folder is the gate: once
it is gone, nothing begins any more.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tempfile
from itertools import islice
from operator import itemgetter
from pathlib import Path
from time import monotonic, sleep
from typing import Any, ClassVar, NamedTuple

from executors.backends.base import Backend, Feature, checked_grace, features_of, stopped, timed_out
from executors.core.records import Call, describe
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
from executors.errors import BackendError, WorkerDied
from executors.pickling.failure import VALUE_OF, Failure, failure_of
from executors.pickling.raised import qualified

WAITS = {Feature.SLOTS, Feature.CONTEXTS}
WINDOW = 64  # calls, the most urgent ones, that are waited for
GATHERED, GATHER_S = 32, 0.005  # outcomes that are taken at once, and how long they may gather
LARGE_BYTES = 1 << 16  # of a value that stays in ray's store
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
    worker_bytes: ClassVar[int] = 100_000_000
    is_default: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("ray",)
    start_guess_s: ClassVar[float] = 4.0

    def __init__(self, workers: int | None = None, *, grace_s: float = 1.0) -> None:
        super().__init__(workers)
        self.grace_s = checked_grace(grace_s)
        self.perform: Any = None
        self._folder = ""

    @classmethod
    def unavailable(cls) -> str | None:
        return missing("ray", "ray")

    def open(self) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
        import ray

        if ray.is_initialized():
            raise BackendError("ray runs already in this program; call ray.shutdown() first")
        self._folder = tempfile.mkdtemp(prefix="executors-ray-")
        ray_logger = logging.getLogger("ray")
        level = ray_logger.level
        ray_logger.setLevel(logging.ERROR)
        try:
            ray.init(
                num_cpus=self.workers,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                _system_config={"enable_worker_prestart": True},
            )
            remote: Any = ray.remote
            self.perform = remote(num_cpus=1, max_retries=0)(perform)
            ray.get([self.perform.remote(b"") for _ in range(self.workers)])
        except Exception as error:
            self.close()
            raise BackendError(f"ray cannot start: {describe(error)}") from error
        finally:
            ray_logger.setLevel(level)

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


def _outcome(reference: Any) -> Any:
    """An outcome, or what ray raises in its place."""
    import ray

    try:
        return ray.get(reference)
    except Exception as error:
        return error


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
        # By number, in flight and as they were submitted: a call, and its outcome to be.
        self._calls: dict[int, tuple[Call, Any]] = {}
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
        for call, action in self._following.taken(now_s, self._goes_ahead):
            number, self._next = self._next, self._next + 1
            # One argument, because ray packs each of them on its own.
            order = pickle.dumps((self._header, action, number, call.task.timeout_s))
            needs = [
                self._values[need] if need in self._values else call.values[need].reference
                for need in call.needs
            ]
            reference = self._backend.perform.remote(order, *needs)
            self._calls[number] = call, reference
            self._values[call.rank] = reference

    def _wait(self, now_s: float) -> None:
        import ray

        wait_s = TICK_S
        for at_s in (self._session.wake_at_s, self._stop_by_s):
            if at_s is not None:
                wait_s = min(wait_s, max(0.0, at_s - now_s))
        if not self._calls:
            sleep(wait_s)
            return
        window = dict(islice(self._calls.items(), WINDOW))
        numbers = {reference: number for number, (_, reference) in window.items()}
        references = list(numbers)
        ended: list[Any] = []
        if self._goes_ahead:  # nothing waits for a single outcome, and each wait takes a while
            most = min(len(references), GATHERED)
            ended, _ = ray.wait(references, num_returns=most, timeout=min(wait_s, GATHER_S))
        if not ended:
            ended, _ = ray.wait(references, num_returns=1, timeout=wait_s)
        if ended:  # all of them: it may leave out those that others need
            ended, _ = ray.wait(references, num_returns=len(references), timeout=0)
        try:
            outcomes = ray.get(ended)
        except Exception:  # of one of them
            outcomes = [_outcome(reference) for reference in ended]
        for number, outcome in sorted(
            zip(map(numbers.__getitem__, ended), outcomes, strict=True), key=itemgetter(0)
        ):
            self._ended(number, outcome)
        if not ended:
            self._announce()

    def _announce(self) -> None:
        """Notices which attempts have begun and are not over soon."""
        for number, (call, _) in list(self._calls.items())[:WINDOW]:
            if number not in self._started and self._ledger.state(number) is State.BEGUN:
                self._start(number, call)

    def _start(self, number: int, call: Call) -> None:
        if number not in self._started:
            self._started.add(number)
            self._following.started(call.rank)

    def _ended(self, number: int, outcome: Any) -> None:
        call, reference = self._calls[number]
        if any(need in self._following.calls for need in call.needs):
            return  # ray said the one before the other; later
        del self._calls[number]
        if self._values.get(call.rank) is reference:
            del self._values[call.rank]
        following = self._following
        if following.calls.get(call.rank) is not call:
            return  # put back, because a task that it needs has failed
        if isinstance(outcome, Exception):
            self._start(number, call)
            following.died([call.rank], outcome)
            return
        what, value = outcome
        if what == NOT_BEGUN:
            following.finish(call.rank, None)
            return
        self._start(number, call)
        if what == OVERDUE:
            late = timed_out(call, "its thread may still be running it")
            following.finish(call.rank, following.client.failed(call, monotonic(), late))
            return
        process, started_s, ended_s, cpu_s, wrong, records = what
        failure = None if wrong is None else Failure(*wrong)
        performed = process, started_s, ended_s, cpu_s, None, failure, records
        attempt = following.client.received(call, performed)
        if failure is None:
            is_kept = call.rank in self._session.kept
            try:
                attempt.value = _Ref(reference, _opened(value) if is_kept else None)
            except Exception as error:
                name = call.task.name
                attempt.error = WorkerDied(f"the value of task {name!r} is lost: {describe(error)}")
        following.finish(call.rank, attempt)

    def _wind_up(self, now_s: float) -> None:
        """Takes back what has not begun; after a stop, kills what goes on for too long."""
        import ray

        if self._stop_by_s is None:
            self._gate.unlink()
            self._stop_by_s = now_s + self._backend.grace_s
            for number, (call, _) in list(self._calls.items()):
                if self._ledger.state(number) is State.NEW:  # ray.cancel might hit another task
                    del self._calls[number]
                    self._following.finish(call.rank, None)
        if self._session.stopping and now_s >= self._stop_by_s:
            for number, (call, reference) in list(self._calls.items()):
                ray.cancel(reference, force=True)
                del self._calls[number]
                self._start(number, call)
                error = stopped(call, self._session, LEFT)
                attempt = self._following.client.failed(call, monotonic(), error)
                self._following.finish(call.rank, attempt)


# -- in a worker ------------------------------------------------------------------------------

_runs: dict[bytes, tuple[Ledger, Path, dict[str, int], bool]] = {}


class _Stored(NamedTuple):
    """In the place of a large value: where it is."""

    reference: Any


def _opened(value: Any) -> Any:
    """The value behind what stands for it."""
    if value.__class__ is _Stored:
        import ray

        value = ray.get(value.reference)
    return value.value if value.__class__ is Held else value


def perform(order: bytes, *needs: tuple[Any, Any]) -> tuple[Any, Any]:
    """What ray calls for a task; what became of it, and its value."""
    if not order:
        return NOT_BEGUN, None
    header, action, number, timeout_s = pickle.loads(order)
    try:
        ledger, gate, levels, is_metered = _run(header)
    except FileNotFoundError:  # the run is over
        return NOT_BEGUN, Missing(False)
    if any(value.__class__ is Missing for _, value in needs):
        return NOT_BEGUN, Missing(False)
    values = [_opened(value) for _, value in needs]
    ledger.begin(number)
    if not gate.exists():
        return NOT_BEGUN, Missing(False)
    job = action, values, levels, is_metered
    done = perform_sent(*job) if timeout_s is None else perform_in_time(timeout_s, *job)
    return (OVERDUE, Missing(False)) if done is None else _packed(done)


def _packed(done: Performed) -> tuple[Any, Any]:
    process, started_s, ended_s, cpu_s, value, failure, records = done
    is_plain = value.__class__ in PLAIN
    is_small = is_plain and value.__sizeof__() < LARGE_BYTES
    if failure is None and not is_plain:
        try:
            is_small = small(value) is not None
        except BaseException as error:
            failure = failure_of(VALUE_OF, qualified(type(value)), error)
    wrong = None if failure is None else tuple(failure)
    outcome = process, started_s, ended_s, cpu_s, wrong, records
    if failure is not None:
        return outcome, Missing(False)
    held = value if is_plain else Held(value)
    return outcome, held if is_small else _Stored(_put(held))


def _put(value: Any) -> Any:
    import ray

    return ray.put(value)


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
