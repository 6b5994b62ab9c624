"""One run on dask.distributed: submits calls, follows what the workers report, and stops them.

Without slots and contexts, the whole graph is submitted at once. Values stay on the workers; only
those that the report keeps come here, small ones with the outcome. If a task may be retried, or has
to wait for slots or its context, the values that it needs are held until the session drops them.

An outcome may arrive before that of a task that it needs, since they come from different workers;
it is then set aside.
"""

from __future__ import annotations

import pickle
import shutil
import threading
from collections.abc import Iterable
from time import monotonic
from typing import Any
from uuid import uuid4

from executors.backends.base import Feature, features_of, stopped, timed_out
from executors.core.records import Attempt, Call, describe
from executors.core.session import Session
from executors.engines.dask import worker
from executors.engines.dask.connection import Connection, Events
from executors.engines.dask.worker import Header, Order
from executors.engines.ledger import Ledger, State
from executors.engines.sent import Held, Missing
from executors.engines.whole import Following
from executors.errors import NotPicklable, TaskError, WorkerDied
from executors.pickling.failure import Failure

HOLDS = {Feature.RETRIES, Feature.SLOTS, Feature.CONTEXTS}
WAITS = {Feature.SLOTS, Feature.CONTEXTS}
QUIET = {"distributed.admin.large-graph-warning-threshold": "1 TiB"}
LARGE_ACTION = 1 << 20  # bytes
TICK_S = 0.25  # between two looks at the cluster
PATIENCE_S = 2.0  # without any event, until dask is asked what has become of the calls
GATE_S = 2.0  # in which workers say what they are running
LEFT = "its worker may still be running it"


class Ref:
    """A value as the session has it.

    Attributes:
        future: while it lasts, the workers keep the value.
        value: the value itself, if it was wanted here.
    """

    __slots__ = ("future", "value")

    def __init__(self, future: Any, value: Any = None) -> None:
        self.future = future
        self.value = value


class Driving:
    """Drives one session."""

    def __init__(
        self, connection: Connection, events: Events, session: Session, grace_s: float
    ) -> None:
        features = features_of(session.graph)
        self._connection = connection
        self._client = connection.client
        self._events = events
        self._grace_s = grace_s
        self._session = session
        self._holds = bool(features & HOLDS)
        self._goes_ahead = not features & WAITS
        self._following = Following(session, "dask")
        self._run = uuid4().hex[:12]
        folder = connection.shared_folder(self._run)
        self._ledger = Ledger(folder) if folder else None
        self._folder = folder
        levels = {
            name: level
            for name, level in self._following.client.levels.items()
            if name.partition(".")[0] != "distributed"  # the workers' own
        }
        header = Header(
            self._run,
            connection.topic,
            levels,
            session.measure_cpu,
            folder,
            not self._goes_ahead,
        )
        self._header = pickle.dumps(tuple(header))

        self._addresses = connection.addresses()
        self._next = 0  # the number of an attempt
        self._actions: dict[int, Any] = {}  # futures of large ones, by id
        self._calls: dict[int, Call] = {}  # by number, in flight
        self._keys: dict[int, Any] = {}  # by rank, of the last attempt
        self._futures: dict[int, Any] = {}  # by number, in flight
        self._deaths = connection.deaths
        self._begun: dict[int, int] = {}  # by number: the process
        self._early: dict[int, tuple[int, Attempt]] = {}  # by rank: set aside
        self._fetched: set[int] = set()  # numbers whose values are under way
        self._late: list[tuple[float, int]] = []  # when to give up on overdue ones
        self._received: dict[str, int] = {}  # entries by address
        self._last = 0  # calls in flight that no other one needs
        self._gate_by_s: float | None = None
        self._gate: dict[str, tuple[int, list[int], int]] | None = None
        self._is_closed = False  # nothing in flight will begin any more
        self._stop_by_s: float | None = None
        self._checked_s = self._idle_since_s = monotonic()

    def drive(self) -> None:
        session = self._session
        try:
            while True:
                now_s = monotonic()
                self._watch_deadlines(now_s)
                if session.stop_reason is None:
                    self._submit(now_s)
                else:
                    self._wind_up(now_s)
                if session.over:
                    return
                self._wait(now_s)
        finally:
            self._end()

    # -- submitting -------------------------------------------------------------------------

    def _submit(self, now_s: float) -> None:
        import dask
        from dask.task_spec import Task, TaskRef

        session, graph, wanted = self._session, {}, {}
        dependents = session.graph.dependents
        for call, pickled in self._following.taken(now_s, self._goes_ahead):
            action: Any = pickled
            number = self._next
            self._next += 1
            self._calls[number] = call
            rank, task = call.rank, call.task
            key = self._keys[rank] = (f"{_named(task.action)}-{self._run}", rank, number)
            is_kept = rank in session.kept
            stays = bool(dependents[rank])
            self._last += not stays
            order = Order(number, is_kept, stays, task.timeout_s)
            needs = [TaskRef(self._keys[need]) for need in call.needs]
            perform = self._connection.shipped.perform
            if len(action) > LARGE_ACTION:
                action = TaskRef(self._scattered(action))
            graph[key] = Task(key, perform, self._header, action, tuple(order), *needs)
            if is_kept or self._holds or not stays:
                wanted[key] = number
        if not graph:
            return
        with dask.config.set(QUIET):
            futures = self._client.get(
                graph,
                list(wanted),
                sync=False,
                priority=self._connection.shipped.urgency,
                workers=self._addresses,
                allow_other_workers=True,  # if all of these are gone
            )
        for number, future in zip(wanted.values(), futures, strict=True):
            self._futures[number] = future

    def _scattered(self, action: bytes) -> Any:
        """The key of a large action, which goes to each worker once, past the scheduler."""
        future = self._actions.get(id(action))
        if future is None:
            future = self._actions[id(action)] = self._client.scatter(
                action, hash=False, broadcast=True, direct=self._connection.is_own or None
            )
        return future.key

    # -- following --------------------------------------------------------------------------

    def _wait(self, now_s: float) -> None:
        """Waits for an event, a deadline, a delayed retry or `wake`, and takes what has come."""
        due_s = now_s + TICK_S
        for at_s in (self._session.wake_at_s, self._stop_by_s):
            if at_s is not None:
                due_s = min(due_s, at_s)
        event = self._events.get(max(0.0, due_s - now_s))
        is_idle = event is None
        while event is not None:
            kind, run, *content = event
            if run != self._run:
                pass  # `wake`, or what an earlier run left
            elif kind == "entries":
                self._take_entries(*content)
            elif kind == "fetched":
                self._take_fetched(*content)
            else:
                self._gate = content[0]
            event = self._events.get_nowait()
        now_s = monotonic()
        if now_s >= self._checked_s + TICK_S:
            self._checked_s = now_s
            self._check(is_idle)

    def _take_entries(self, address: str, offset_s: float, entries: Iterable[Any]) -> None:
        for number, kind, *outcome in entries:
            self._received[address] = self._received.get(address, 0) + 1
            call = self._calls.get(number)
            if call is None or call.rank in self._early:
                continue  # it is known
            if kind == worker.BEGUN:
                self._begin(number, call, outcome[0])
            elif kind == worker.ENDED:
                self._ended(number, call, address, offset_s, *outcome)
            elif kind == worker.OVERDUE:
                self._fail(number, call, timed_out(call, LEFT))
            elif kind == worker.DIED:
                died = WorkerDied(f"a worker of dask died while it had task {call.task.name!r}")
                self._fail(number, call, died)
            else:
                self._fail(number, call, _lost(call))

    def _begin(self, number: int, call: Call, process: int = 0) -> None:
        if number not in self._begun:
            self._begun[number] = process
            self._following.started(call.rank)

    def _ended(
        self,
        number: int,
        call: Call,
        address: str,
        offset_s: float,
        process: int,
        started_s: float,
        ended_s: float,
        cpu_s: float,
        wrong: bytes | None,
        pickled: bytes | None,
        records: list[bytes] | None,
    ) -> None:
        self._begin(number, call, process)
        failure = None if wrong is None else Failure(*pickle.loads(wrong))
        times = started_s + offset_s, ended_s + offset_s
        performed = (process, *times, cpu_s, None, failure, records)
        attempt = self._following.client.received(call, performed, address)
        if failure is not None:
            self._finish(number, call, attempt)
        else:
            self._accept(number, call, attempt, pickled)

    def _accept(self, number: int, call: Call, attempt: Attempt, pickled: bytes | None) -> None:
        """Finishes a call that succeeded; if its value is wanted here, with the value."""
        future = self._futures.get(number)
        if call.rank not in self._session.kept:
            attempt.value = Ref(future) if self._holds else None
            self._finish(number, call, attempt)
        elif number in self._fetched:
            pass
        elif pickled is not None:
            self._finish(number, call, _with_value(attempt, future, pickle.loads, pickled))
        else:
            self._fetched.add(number)
            self._client.loop.add_callback(self._fetch, number, attempt, future)

    async def _fetch(self, number: int, attempt: Attempt, future: Any) -> None:
        """Has a large value come here; on the client's event loop."""
        try:
            value = await self._client.gather(
                future, asynchronous=True, direct=self._connection.is_own or None
            )
            if isinstance(value, Missing):
                raise WorkerDied("it is lost")
            attempt.value = Ref(future, value.value if isinstance(value, Held) else value)
        except BaseException as error:
            attempt.error = error
        self._events.put(("fetched", self._run, number, attempt))

    def _take_fetched(self, number: int, attempt: Attempt) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        if attempt.error is not None:
            what = f"the value of task {call.task.name!r} could not be fetched"
            why, _, _ = describe(attempt.error).partition("\n")
            attempt.error = WorkerDied(f"{what}: {why}")
        self._finish(number, call, attempt)

    def _fail(self, number: int, call: Call, error: TaskError) -> None:
        self._begin(number, call)
        self._finish(number, call, self._following.client.failed(call, monotonic(), error))

    def _finish(self, number: int, call: Call, attempt: Attempt) -> None:
        """Finishes a call once those that it needs have ended, then those that waited for it."""
        self._early[call.rank] = number, attempt
        if not self._session.graph.dependents[call.rank]:
            self._last -= 1
            if not self._last and len(self._calls) > 1:
                threading.Thread(target=self._ask, args=(worker.send_all,), daemon=True).start()
        following, dependents = self._following, self._session.graph.dependents
        waiting = [call.rank]
        while waiting:
            rank = waiting.pop()
            if rank not in self._early:
                continue
            early = following.calls.get(rank)
            if early is not None and any(need in following.calls for need in early.needs):
                continue
            number, attempt = self._early.pop(rank)
            self._drop(number)
            if early is attempt.call:
                following.finish(rank, attempt)
                waiting += dependents[rank]

    def _drop(self, number: int) -> None:
        self._calls.pop(number, None)
        self._futures.pop(number, None)
        self._begun.pop(number, None)

    # -- watching ---------------------------------------------------------------------------

    def _watch_deadlines(self, now_s: float) -> None:
        """Workers notice timeouts themselves, unless the action does not let them."""
        numbers = {call: number for number, call in self._calls.items()} if self._late else {}
        for call in self._session.overdue(now_s):
            self._late.append((now_s + self._grace_s, call.rank))
        for due_s, rank in self._late[:]:
            if due_s <= now_s:
                self._late.remove((due_s, rank))
                late = self._following.calls.get(rank)
                if late in numbers:
                    number = numbers[late]
                    self._connection.kill([self._begun.get(number, 0)])
                    self._fail(number, late, timed_out(late, LEFT))

    def _check(self, is_idle: bool) -> None:
        """Looks at the cluster and, if no event comes, at the futures."""
        if (gone := self._connection.gone()) is not None:
            self._abort(gone)
            return
        if self._ledger is not None and self._deaths != self._connection.deaths:
            self._deaths = self._connection.deaths
            self._begun_by_ledger()
        if not is_idle:
            self._idle_since_s = self._checked_s
        elif self._checked_s > self._idle_since_s + PATIENCE_S:
            self._idle_since_s = self._checked_s
            self._find_outcomes()

    def _find_outcomes(self) -> None:
        """Looks for calls that dask has ended, or given up on, without a word to us."""
        for number, future in list(self._futures.items()):
            if future.status in ("error", "lost", "cancelled") and number in self._calls:
                error = future.exception(timeout=1) if future.status == "error" else None
                key = getattr(error, "task", None)  # a future also fails with what it needs
                named = key[-1] if isinstance(key, tuple) else number
                why = "its key was cancelled" if error is None else describe(error)
                self._blame(named if named in self._calls else number, why)
        needed = {need for _, attempt in self._early.values() for need in attempt.call.needs}
        for number, call in list(self._calls.items()):
            future = self._futures.get(number)
            has_ended = future is not None and future.status == "finished"
            if (has_ended or call.rank in needed) and call.rank not in self._early:
                self._presume(number, call)

    def _presume(self, number: int, call: Call) -> None:
        """dask has ended a call, but its outcome was lost."""
        if number not in self._calls:
            return
        if self._ledger is not None:
            self._blame(number, "its outcome was lost with a worker")
            return
        self._begin(number, call)
        now_s = monotonic()
        attempt = Attempt(call, self._following.backend, now_s, now_s, None, None)
        self._accept(number, call, attempt, None)

    def _begun_by_ledger(self) -> set[int]:
        """The calls that have begun on workers of our own; takes outcomes that had not come."""
        if self._ledger is None:
            return set()
        noted = [self._ledger.outcome(number) for number in self._calls]
        self._take_entries("", 0.0, [outcome[0] for outcome in noted if outcome is not None])
        return {number for number in self._calls if self._ledger.state(number) is not State.NEW}

    def _abort(self, why: str) -> None:
        """The cluster is gone: what was running fails, nothing else starts."""
        self._session.stop(why)
        self._connection.end_workers()  # they would go on with what they have
        for number in self._begun_by_ledger() | set(self._begun) | self._fetched:
            if (call := self._calls.get(number)) is not None:
                error = WorkerDied(f"task {call.task.name!r} was running, and {why}")
                self._fail(number, call, error)
        self._put_back(set())
        self._is_closed = True

    def _blame(self, number: int, why: str) -> None:
        """Fails a call that dask has given up on, or the first one that it needs."""
        call = self._calls[number]
        following = self._following
        while needs := [need for need in call.needs if need in following.calls]:
            call = following.calls[needs[0]]
        number = next(one for one, other in self._calls.items() if other is call)
        self._fail(number, call, WorkerDied(f"dask gave up on task {call.task.name!r}: {why}"))

    # -- stopping ---------------------------------------------------------------------------

    def _wind_up(self, now_s: float) -> None:
        """Takes back what has not begun; after a stop, gives up on what goes on for too long."""
        if self._gate_by_s is None:
            self._gate_by_s = now_s + GATE_S
            threading.Thread(target=self._close_gates, daemon=True).start()
        if not self._is_closed and (self._has_gate_reply() or now_s >= self._gate_by_s):
            replies = (self._gate or {}).values()
            replied = {process for process, _, _ in replies}
            self._connection.kill(set(self._connection.processes) - replied)
            running = dict.fromkeys(self._begun_by_ledger(), 0)
            running |= {number: process for process, some, _ in replies for number in some}
            for number, process in running.items():
                if (call := self._calls.get(number)) is not None:
                    self._begin(number, call, process)
            self._put_back(set(running) | set(self._begun))
            self._is_closed = True
        if not self._session.stopping:
            return
        if self._stop_by_s is None:
            self._stop_by_s = now_s + self._grace_s
        if now_s >= self._stop_by_s and self._is_closed:
            self._connection.kill(self._begun.values())
            for number, call in list(self._calls.items()):
                self._fail(number, call, stopped(call, self._session, LEFT))

    def _close_gates(self) -> None:
        self._events.put(("gate", self._run, self._ask(worker.close_gate)))

    def _ask(self, function: Any) -> Any:
        """What a function returns on each worker, by address."""
        try:
            return self._client.run(function, self._connection.topic, self._run, on_error="ignore")
        except BaseException:
            return {}  # the cluster is gone, or was closed

    def _has_gate_reply(self) -> bool:
        """Whether all workers have replied, and all that they had reported before has come."""
        return self._gate is not None and all(
            self._received.get(address, 0) >= count for address, (_, _, count) in self._gate.items()
        )

    def _put_back(self, running: set[int]) -> None:
        following = self._following
        for number, call in list(self._calls.items()):
            if number not in running:
                self._drop(number)
                self._early.pop(call.rank, None)
                if following.calls.get(call.rank) is call:
                    following.finish(call.rank, None)

    def _end(self) -> None:
        for number in list(self._calls):
            self._drop(number)
        self._keys.clear()
        self._actions.clear()
        if self._ledger is not None:
            self._ledger.close()
            shutil.rmtree(self._folder, ignore_errors=True)


def _with_value(attempt: Attempt, future: Any, make: Any, content: Any) -> Attempt:
    try:
        attempt.value = Ref(future, make(content))
    except BaseException as error:
        attempt.error = NotPicklable(
            f"task {attempt.task_name!r}: its value cannot be unpickled here: {describe(error)}"
        )
    return attempt


def _lost(call: Call) -> WorkerDied:
    return WorkerDied(
        f"task {call.task.name!r} did not start: a value that it needs was lost with a worker that"
        " died"
    )


def _named(action: Any) -> str:
    """What dask's dashboard calls a task."""
    name = getattr(action, "__name__", type(action).__name__)
    return name if name.isidentifier() else "task"
