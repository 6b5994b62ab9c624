"""`Dispatch`: one run on a pool of worker processes, driven by one event loop.

::

    drive:  deadlines and stops -> give calls -> sleep until the bell rings -> hear reports -> ...

A worker has a queue, in the kernel, of calls that it makes one after the other, and reports each
before it begins the next (`wire.py`). How many it has is for `pace.py` to say. So the kernel knows,
whatever happens to a worker: what it took and did not report, it was running, and what it did not
take, it never began.

A worker is idle (no calls), busy, or slow (see `_share`). A call leaves it by its report, by being
taken back, or by the worker's end, and whatever ends a worker, `_bury` is where it ends.
"""

from __future__ import annotations

from time import monotonic

from executors.backends.base import LONGEST_SLEEP_S
from executors.backends.child import Child, how_it_ended
from executors.backends.orders import Kept, Orders
from executors.backends.pace import MOST_CALLS, PATIENCE_S, Pace
from executors.backends.packing import Packed, load
from executors.backends.pool import LOOKS, Pool
from executors.backends.wire import ERROR, LEADS, RINGS, SKIPPED, error_of
from executors.errors import NotPicklable, TaskError, TaskStopped, TaskTimeout, WorkerDied
from executors.records import Attempt, Call, describe
from executors.session import Session

BLOCKS_FROM = 4  # calls that a worker should have at hand


class Dispatch:
    """Gives the calls of one session to the workers of a pool, and hears what became of them."""

    def __init__(self, pool: Pool, session: Session) -> None:
        self._pool = pool
        self._workers = pool.workers
        self._session = session
        self._pace = Pace()
        self._orders = Orders()
        self._ring_after = 1  # calls given to one worker
        self._retries_post = False  # a worker had no room: nothing rings when it has

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
                self._give(now_s)
                wait_s = self._share(now_s)
            if session.over:
                return
            wake_at_s = session.wake_at_s
            if wake_at_s is not None:
                wait_s = max(0.0, min(wait_s, wake_at_s - monotonic()))
            has_rung, ended = pool.listen(wait_s, LOOKS if self._pace.is_tiny else 0)
            if has_rung:
                for worker in self._workers.values():
                    if worker.calls:
                        self._hear(worker)
            for worker in ended:
                if worker.number in self._workers:  # else it was buried a moment ago
                    self._hear(worker)
                    if worker.has_ended:
                        self._bury(worker)

    # -- giving -----------------------------------------------------------------------------

    def _give(self, now_s: float) -> None:
        """Gives calls to the workers that have room, first to those that have least.

        Long calls are dealt one by one, the most urgent first; short ones in blocks, as neighbours
        in order are often neighbours in the graph, whose dependents then need no other worker.
        """
        depth = self._pace.depth
        rooms = [
            worker
            for worker in self._workers.values()
            if len(worker.calls) <= depth // 2 and worker.is_ready and not worker.is_slow
        ]
        if not rooms:
            return
        if len(rooms) > 1:
            rooms.sort(key=_size)
        if depth < BLOCKS_FROM:
            self._ring_after = self._pace.ring_after(depth)
            for level in range(1, depth):
                for worker in rooms:
                    self._pack(worker, level, now_s)
            level = depth
        else:
            calls = self._session.startable + sum([len(worker.calls) for worker in rooms])
            level = min(depth, -(-calls // len(rooms)))
            self._ring_after = self._pace.ring_after(level)
        for worker in rooms:
            self._pack(worker, level, now_s)
            while (
                worker.leader in worker.calls
                and len(worker.calls) < depth
                and self._give_one(worker, now_s, only_next=True)
            ):
                pass
            if worker.packet.orders:
                self._post(worker)

    def _pack(self, worker: Child, level: int, now_s: float) -> None:
        """Gives a worker calls until it has so many, or there are no more."""
        while len(worker.calls) < level and self._give_one(worker, now_s):
            pass

    def _give_one(self, worker: Child, now_s: float, only_next: bool = False) -> bool:
        """Gives a worker what follows its last call, or else the most urgent task; if any."""
        session, calls = self._session, worker.calls
        leader, call = worker.leader, None
        if leader in calls:
            call = session.follow(calls[leader], now_s)
        if call is None:
            leader, call = 0, None if only_next else session.take(now_s)
            if call is None:
                return False
        number = worker.last = worker.last + 1
        leads = session.graph.successor[call.index] >= 0
        flags = LEADS if leads else 0
        worker.unrung += 1
        if worker.unrung >= self._ring_after:
            flags |= RINGS
            worker.unrung = 0
        try:
            self._orders.add(worker.packet, number, call, leader, flags)
        except NotPicklable as error:
            if leader:  # it fails when it is its turn
                session.put_back(call, now_s)
                return False
            session.started(call, now_s)
            session.finish(Attempt(call, worker.name, now_s, now_s, None, error), now_s)
            return True
        worker.leader = number if leads else 0
        if leader:
            worker.following.add(number)
        if not calls:
            worker.heard_s = now_s
        calls[number] = call
        return not worker.packet.descriptors or self._post(worker)

    def _post(self, worker: Child) -> bool:
        """Sends a worker what was packed for it; False if it has no room now."""
        now_s = monotonic()
        packet = worker.packet
        has_room = worker.post()
        if not has_room:
            self._retries_post = True
            for number, *_ in packet.orders:
                call = worker.drop(number)
                if call is not None:
                    self._session.put_back(call, now_s)
        self._tell_begun(worker, now_s)
        return has_room

    def _tell_begun(self, worker: Child, now_s: float) -> None:
        """Tells the session of the call that a worker is at, if it does not know."""
        for number, call in worker.calls.items():
            if call is not worker.begun:
                worker.begun, worker.begun_s = call, now_s
                worker.following.discard(number)
                self._session.started(call, now_s)
            return
        worker.begun = None

    # -- taking back ------------------------------------------------------------------------

    def _share(self, now_s: float) -> float:
        """Takes back calls that others may begin sooner, and gives them to these.

        Returns:
            Seconds until it has to look again, although the bell does not ring.
        """
        patience_s = self._pace.patience_s
        wait_s = PATIENCE_S if self._retries_post else LONGEST_SLEEP_S
        self._retries_post = False
        idle, taken, most = False, 0, 0
        fullest: Child | None = None
        for worker in self._workers.values():
            queued = len(worker.calls) - len(worker.following) - 1
            if queued < 0:
                idle = idle or worker.is_ready
            elif queued and not worker.is_slow:
                left_s = worker.heard_s + patience_s - now_s
                if left_s <= 0:
                    taken += self._take_back_if_slow(worker, now_s)
                    wait_s = 0.0  # what it had to say may change what there is to do
                    continue
                wait_s = min(wait_s, left_s)
                if queued > most:
                    most, fullest = queued, worker
        is_worth_it = idle and not self._session.startable and self._pace.is_worth_taking(most)
        if fullest is not None and is_worth_it:
            taken += self._take_back(fullest, now_s, (most + 1) // 2)
        if taken:
            self._give(now_s)
        return wait_s

    def _take_back_if_slow(self, worker: Child, now_s: float) -> int:
        """A worker that has not reported for long may only not have rung."""
        self._hear(worker)
        if worker.heard_s >= now_s:
            return 0
        taken = self._take_back(worker, now_s)
        self._hear(worker)  # it may have reported a call and begun another one in between
        worker.is_slow = bool(worker.calls) and worker.heard_s < now_s
        return taken

    def _take_back(self, worker: Child, now_s: float, most: int = MOST_CALLS) -> int:
        """Takes back calls that a worker has not begun; how many."""
        numbers = worker.take_back(most)
        for number in numbers:
            call = worker.drop(number)
            if call is not None:
                self._put_back(worker, call, now_s)
        self._tell_begun(worker, now_s)
        return len(numbers)

    def _put_back(self, worker: Child, call: Call, now_s: float) -> None:
        """Puts back a call that its worker does not have any more, and those that follow it."""
        self._session.put_back(call, now_s)
        self._drop_followers(worker, call, now_s)

    def _drop_followers(self, worker: Child, call: Call, now_s: float) -> None:
        for number in sorted(worker.following):
            follower = worker.calls[number]
            if follower.needs == (call.index,):
                worker.drop(number)
                self._session.put_back(follower, now_s)
                call = follower

    def _stop(self, now_s: float) -> None:
        """Nothing more starts; what runs is ended where the session says so."""
        session = self._session
        for worker in list(self._workers.values()):
            if worker.calls and (session.stopping or len(worker.calls) > 1):
                self._take_back(worker, now_s)
            while session.stopping and (call := worker.begun) is not None:
                self._end(worker, call, TaskStopped(_stopped(call, session)))

    # -- hearing ----------------------------------------------------------------------------

    def _hear(self, worker: Child, to_the_end: bool = False) -> None:
        """Deals with the outcomes that a worker has reported since it was last heard."""
        outcomes = worker.hear(to_the_end)
        if not outcomes:
            return
        now_s = worker.heard_s = monotonic()
        worker.is_slow = False
        session, calls, following, kept = (
            self._session,
            worker.calls,
            worker.following,
            self._session.kept,
        )
        total_s, count = 0.0, 0
        for kind, number, outcome, started_s, ended_s in outcomes:
            call = calls.pop(number, None)
            if call is None:
                continue  # it was put back, and its report was on the way
            if following:
                following.discard(number)
            if kind == SKIPPED:
                self._put_back(worker, call, now_s)
                self._tell_begun(worker, now_s)
                continue
            value: Packed | Kept | None = outcome
            error: BaseException | None = None
            if kind == ERROR:
                value, error = None, self._error(call, worker, outcome)
            elif outcome.__class__ is not bytes or call.index in kept:
                value, error = self._orders.accept(call, outcome, call.index in kept)
            if error is not None:
                self._drop_followers(worker, call, now_s)
            session.finish(Attempt(call, worker.name, started_s, ended_s, value, error), now_s)
            self._tell_begun(worker, ended_s)
            total_s += ended_s - started_s
            count += 1
        if count:
            self._pace.learn(total_s, count)

    def _error(self, call: Call, worker: Child, outcome: Packed) -> BaseException:
        try:
            failure = load(outcome)
        except OSError as error:  # too many open files
            return NotPicklable(
                f"task {call.task.name!r}: its exception did not come through: {describe(error)}"
            )
        return error_of(failure, call, repr(worker), self._pool.options.memory_limit_bytes)

    # -- the end of workers -----------------------------------------------------------------

    def _end_overdue(self, now_s: float) -> None:
        for call in self._session.overdue(now_s):
            for worker in list(self._workers.values()):
                if worker.begun is call:
                    self._end(worker, call, TaskTimeout(_timed_out(call)))

    def _end(self, worker: Child, call: Call, error: TaskError) -> None:
        """Kills the worker of a call, unless the call has ended meanwhile."""
        self._hear(worker)
        if worker.begun is call:
            self._bury(worker, error)
            worker.begun = None

    def _bury(self, worker: Child, error: TaskError | None = None) -> None:
        """Ends a worker for good, settles the calls that it had, and replaces it.

        Args:
            error: what the call that it is at gets; None: it died by itself.

        Raises:
            BackendError: several in a row died before they were ready.
        """
        culprit = worker.begun
        status = self._pool.end(worker)
        self._hear(worker, to_the_end=True)
        self._settle_last(worker, culprit, error, status)
        if self._session.stopping:
            self._pool.remove(worker)  # the next run will fill the pool
        else:
            self._pool.replace(worker, status)

    def _settle_last(
        self, worker: Child, culprit: Call | None, error: TaskError | None, status: int
    ) -> None:
        """What a worker was running fails, if the worker was not ended for another call."""
        now_s = monotonic()
        self._take_back(worker, now_s)
        call = worker.begun
        worker.calls.clear()  # nothing else was left: the rest had tickets
        if call is None:
            return
        if error is not None and call is not culprit:
            self._session.put_back(call, now_s)
            return
        reason = error or WorkerDied(
            f"task {call.task.name!r}: its worker {worker!r} {how_it_ended(status)}"
        )
        attempt = Attempt(call, worker.name, worker.begun_s, now_s, None, reason)
        self._session.finish(attempt, now_s)


def _size(worker: Child) -> int:
    return len(worker.calls)


def _timed_out(call: Call) -> str:
    return (
        f"task {call.task.name!r} ran longer than its timeout of {call.task.timeout_s:g} s;"
        " its worker was killed"
    )


def _stopped(call: Call, session: Session) -> str:
    return (
        f"task {call.task.name!r} was running when the run was stopped"
        f" ({session.stop_reason}); its worker was killed"
    )
