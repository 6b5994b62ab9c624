"""`Dispatch`: the event loop of one run on worker processes: assigns, collects, ends overdue calls.

::

    drive:  deadlines and stops -> assign calls -> sleep until woken -> collect outcomes -> ...

A worker has a queue, in the kernel, of calls that it makes one after the other, and it reports each
before it begins the next (`wire.py`). `pace.py` decides how many calls a worker should have. So the
kernel's queues show, whatever happens to a worker, that it was running the call that it took and
did not report, and never began those that it did not take.

A worker is idle (no calls), busy, or slow (see `_share`): silent although it had calls. A slow one
gets nothing until it reports. A call leaves a worker by its report, by being taken back, or by the
worker's end; however a worker ends, `_reap` deals with it.
"""

from __future__ import annotations

from time import monotonic

from executors.backends.base import LONGEST_SLEEP_S, stopped, timed_out
from executors.backends.workers.bodies.base import ReturnCode
from executors.backends.workers.handle import WorkerHandle
from executors.backends.workers.orders import Kept, Orders
from executors.backends.workers.pace import MOST_CALLS, PATIENCE_S, UNRESPONSIVE_S, Pace
from executors.backends.workers.pool import POLLS, Pool
from executors.backends.workers.wire import ERROR, LEADS, METERED, SKIPPED, WAKES
from executors.core.records import Attempt, Call
from executors.core.session import Session
from executors.errors import NotPicklable, TaskError, WorkerDied, without_frames
from executors.pickling.failure import error_in
from executors.pickling.packing import Packed

BLOCKS_FROM = 4  # calls per worker from which they are dealt in blocks


class Dispatch:
    """Assigns the calls of one session to the workers of a pool, and collects their outcomes."""

    def __init__(self, pool: Pool, session: Session) -> None:
        self._pool = pool
        self._workers = pool.workers
        self._limit_bytes = pool.options.memory_limit_bytes
        self._session = session
        self._pace = Pace()
        self._orders = Orders()
        self._wakeup_after = 1  # calls assigned to one worker
        self._retries_post = False  # a worker had no room, and nothing reports when it has

    def drive(self) -> None:
        """Returns when the session is over.

        Raises:
            BackendError: workers cannot be started.
        """
        session, pool = self._session, self._pool
        while True:
            now_s = monotonic()
            wake_at_s = session.wake_at_s
            if wake_at_s is not None and wake_at_s <= now_s:
                self._end_overdue(now_s)
            wait_s = LONGEST_SLEEP_S
            if session.stop_reason is not None:
                self._stop(now_s)
            else:
                self._assign(now_s)
                wait_s = self._share(now_s)
            if session.over:
                pool.read_records()
                return
            wake_at_s = session.wake_at_s
            if wake_at_s is not None:
                wait_s = max(0.0, min(wait_s, wake_at_s - monotonic()))
            is_woken, ended = pool.listen(wait_s, POLLS if self._pace.is_tiny else 0)
            if is_woken or wait_s == LONGEST_SLEEP_S:  # then there may be log records
                for worker in self._workers.values():
                    if worker.assigned.calls or worker.assigned.is_slow:
                        self._collect(worker)
                if pool.has_records:
                    pool.read_records()
            for worker in ended:
                if worker.number in self._workers:  # else it was reaped a moment ago
                    self._collect(worker)
                    if worker.has_ended:
                        self._reap(worker)

    # -- assigning --------------------------------------------------------------------------

    def _assign(self, now_s: float) -> None:
        """Assigns calls to the workers that have room, first to those that have the fewest.

        Long calls are dealt one by one, the most urgent first. Short ones are dealt in blocks,
        because neighbours in order are often neighbours in the graph, whose dependents then need
        no other worker.
        """
        depth = self._pace.depth
        open_workers = [
            worker
            for worker in self._workers.values()
            if worker.is_ready and worker.assigned.has_room(depth)
        ]
        if not open_workers:
            return
        open_workers.sort(key=lambda worker: len(worker.assigned.calls))
        if depth < BLOCKS_FROM:
            self._wakeup_after = self._pace.wakeup_after(depth)
            for level in range(1, depth):
                for worker in open_workers:
                    self._fill(worker, level, now_s)
            level = depth
        else:
            assigned = sum([len(worker.assigned.calls) for worker in open_workers])
            calls = self._session.startable + assigned
            level = min(depth, -(-calls // len(open_workers)))
            self._wakeup_after = self._pace.wakeup_after(level)
        for worker in open_workers:
            self._fill(worker, level, now_s)
            self._fill(worker, depth, now_s, chain=True)
            if worker.batch.orders:
                self._post(worker)

    def _fill(self, worker: WorkerHandle, level: int, now_s: float, chain: bool = False) -> None:
        """Assigns calls to a worker until it has `level` of them, or there are no more.

        Args:
            chain: only calls that follow its last one.
        """
        while len(worker.assigned.calls) < level and self._assign_one(worker, now_s, chain):
            pass

    def _assign_one(self, worker: WorkerHandle, now_s: float, chain: bool) -> bool:
        """Assigns the task that follows the worker's last call, or else the most urgent one.

        Returns:
            Whether there may be more.
        """
        session, assigned = self._session, worker.assigned
        leading = assigned.leading
        call = None if leading is None else session.follow(leading, now_s)
        follows = call is not None
        if call is None:
            call = None if chain else session.take(now_s)
            if call is None:
                return False
        leads = session.graph.successor[call.rank] >= 0
        number, wakes = assigned.reserve(self._wakeup_after)
        flags = LEADS * leads | WAKES * wakes | METERED * session.measure_cpu
        try:
            leader = assigned.leader if follows else 0
            self._orders.add(worker.batch, number, call, leader, flags)
        except NotPicklable as error:
            if follows:  # it fails when it is its turn
                session.put_back(call, now_s)
                return False
            session.started(call, now_s)
            failed = Attempt(call, worker.name, now_s, now_s, None, without_frames(error))
            session.finish(failed, now_s)
            return True
        assigned.add(number, call, leads, follows, now_s)
        return not worker.batch.descriptors or self._post(worker)

    def _post(self, worker: WorkerHandle) -> bool:
        """Sends a worker the batch that was built for it; False if it has no room now."""
        now_s = monotonic()
        batch = worker.batch
        has_room = worker.post()
        if not has_room:
            self._retries_post = True
            for number, *_ in batch.orders:
                call = worker.assigned.drop(number)
                if call is not None:
                    self._session.put_back(call, now_s)
        self._announce_begun(worker, now_s)
        return has_room

    def _announce_begun(self, worker: WorkerHandle, now_s: float) -> None:
        """Notifies the session of the call that a worker is running, if it has not done so."""
        call = worker.assigned.newly_begun(now_s)
        if call is not None:
            self._session.started(call, now_s)

    # -- taking back ------------------------------------------------------------------------

    def _share(self, now_s: float) -> float:
        """Takes back calls that other workers may begin sooner, and reassigns them.

        Returns:
            Seconds until it has to look again even if no worker wakes it.
        """
        patience_s = self._pace.patience_s
        wait_s = PATIENCE_S if self._retries_post else LONGEST_SLEEP_S
        self._retries_post = False
        is_one_idle, taken, most = False, 0, 0
        fullest: WorkerHandle | None = None
        for worker in list(self._workers.values()):
            queued = worker.assigned.queued
            if queued < 0 and worker.assigned.is_slow:
                wait_s = min(wait_s, self._await_response(worker, now_s))
            elif queued < 0:
                is_one_idle = is_one_idle or worker.is_ready
            elif queued and not worker.assigned.is_slow:
                left_s = worker.assigned.reported_s + patience_s - now_s
                if left_s <= 0:
                    taken += self._take_back_if_slow(worker, now_s)
                    wait_s = 0.0  # its reports may change what there is to do
                    continue
                wait_s = min(wait_s, left_s)
                if queued > most:
                    most, fullest = queued, worker
        is_worth_it = (
            is_one_idle and not self._session.startable and self._pace.is_worth_taking(most)
        )
        if fullest is not None and is_worth_it:
            taken += self._take_back(fullest, now_s, (most + 1) // 2)
        if taken:
            self._assign(now_s)
        return wait_s

    def _await_response(self, worker: WorkerHandle, now_s: float) -> float:
        """Replaces a slow worker without calls if it does not respond: something has stopped it.

        Returns:
            Seconds until it has to look again.
        """
        self._collect(worker)
        left_s = worker.assigned.reported_s + UNRESPONSIVE_S - now_s
        if left_s <= 0 and worker.assigned.is_slow:
            self._reap(worker)
        return max(0.0, left_s) if worker.assigned.is_slow else 0.0

    def _take_back_if_slow(self, worker: WorkerHandle, now_s: float) -> int:
        """Takes calls back from a silent worker, unless it has reported without a wake-up."""
        self._collect(worker)
        if worker.assigned.reported_s >= now_s:
            return 0
        taken = self._take_back(worker, now_s)
        self._collect(worker)  # it may have reported a call and begun another one in between
        worker.assigned.is_slow = worker.assigned.reported_s < now_s
        return taken

    def _take_back(self, worker: WorkerHandle, now_s: float, most: int = MOST_CALLS) -> int:
        """Takes back calls that a worker has not begun; their number."""
        numbers = worker.take_back(most)
        for number in numbers:
            call = worker.assigned.drop(number)
            if call is not None:
                self._put_back(worker, call, now_s)
        self._announce_begun(worker, now_s)
        return len(numbers)

    def _put_back(self, worker: WorkerHandle, call: Call, now_s: float) -> None:
        """Puts back a call that its worker no longer has, and those that follow it."""
        self._session.put_back(call, now_s)
        self._put_back_followers(worker, call, now_s)

    def _put_back_followers(self, worker: WorkerHandle, call: Call, now_s: float) -> None:
        for follower in worker.assigned.drop_followers(call):
            self._session.put_back(follower, now_s)

    def _stop(self, now_s: float) -> None:
        """Starts nothing more, and ends running calls if the session is stopping."""
        session = self._session
        for worker in list(self._workers.values()):
            if worker.assigned.calls and (session.stopping or len(worker.assigned.calls) > 1):
                self._take_back(worker, now_s)
            while session.stopping and (call := worker.assigned.begun) is not None:
                self._end(worker, call, stopped(call, session, worker.body.given_up))

    # -- collecting -------------------------------------------------------------------------

    def _collect(self, worker: WorkerHandle, to_the_end: bool = False) -> None:
        """Gives the session the outcomes that a worker has reported since the last time."""
        outcomes = worker.outcomes(to_the_end)
        if not outcomes:
            return
        now_s = monotonic()
        session, assigned, kept = self._session, worker.assigned, self._session.kept
        assigned.reported(now_s)
        total_s, count = 0.0, 0
        for kind, number, outcome, started_s, ended_s, used in outcomes:
            call = assigned.drop(number)
            if call is None:
                continue  # it was put back while its report was on the way
            if worker.imports and number in worker.imports:
                session.imported(call, worker.name, *worker.imports.pop(number))
            if kind == SKIPPED:
                self._put_back(worker, call, now_s)
                self._announce_begun(worker, now_s)
                continue
            value: Packed | Kept | None = outcome
            error: BaseException | None = None
            if kind == ERROR:
                value, error = None, error_in(outcome, call, repr(worker), self._limit_bytes)
            elif outcome.__class__ is not bytes or call.rank in kept:
                value, error = self._orders.accept(call, outcome, call.rank in kept)
            if error is not None:
                self._put_back_followers(worker, call, now_s)
            attempt = Attempt(call, worker.name, started_s, ended_s, value, error, *(used or ()))
            session.finish(attempt, now_s)
            begun = assigned.newly_begun(ended_s)
            if begun is not None:
                session.started(begun, ended_s)
            total_s += ended_s - started_s
            count += 1
        if count:
            self._pace.learn(total_s, count)

    # -- the end of workers -----------------------------------------------------------------

    def _end_overdue(self, now_s: float) -> None:
        """Kills the workers whose calls are past their deadlines."""
        for call in self._session.overdue(now_s):
            for worker in list(self._workers.values()):
                if worker.assigned.begun is call:
                    self._end(worker, call, timed_out(call, worker.body.given_up))

    def _end(self, worker: WorkerHandle, call: Call, error: TaskError) -> None:
        """Kills the worker of a call, unless the call has ended in the meantime."""
        self._collect(worker)
        if worker.assigned.begun is call:
            self._reap(worker, error)

    def _reap(self, worker: WorkerHandle, error: TaskError | None = None) -> None:
        """Ends a worker for good, settles its calls, and replaces it.

        Args:
            error: the error of its running call; None if the worker died by itself.

        Raises:
            BackendError: several in a row died before they were ready.
        """
        culprit = worker.assigned.begun
        status = self._pool.end(worker)
        self._collect(worker, to_the_end=True)
        self._settle_last(worker, culprit, error, status)
        if self._session.stopping:
            self._pool.remove(worker)  # the next run will fill the pool
        else:
            self._pool.replace(worker, status)

    def _settle_last(
        self, worker: WorkerHandle, culprit: Call | None, error: TaskError | None, code: ReturnCode
    ) -> None:
        """Fails the call that a worker was running, unless it was killed for another call."""
        now_s = monotonic()
        self._take_back(worker, now_s)
        begun_s = worker.assigned.begun_s
        call = worker.assigned.clear()  # nothing else was left: the rest had tickets
        if call is None:
            return
        if error is not None and call is not culprit:
            self._session.put_back(call, now_s)
            return
        reason = error or WorkerDied(
            f"task {call.task.name!r}: its worker {worker!r} {worker.body.how_it_ended(code)}"
        )
        self._session.finish(Attempt(call, worker.name, begun_s, now_s, None, reason), now_s)
