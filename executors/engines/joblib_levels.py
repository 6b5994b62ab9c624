"""joblib, level by level: it has no graphs, so its users run what is ready, wait, and go on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any, ClassVar

from executors.backends.base import in_time
from executors.core.records import Attempt, Call
from executors.engines import missing
from executors.engines.sent import Performed, perform_checked
from executors.engines.whole import Following, Whole
from executors.errors import NotPicklable

Numbered = tuple[int, Any]


class Joblib(Whole):
    """`joblib.Parallel` with its default, loky's processes; one that is kept."""

    name: ClassVar[str] = "joblib"
    worker_bytes: ClassVar[int] = 30_000_000
    packages: ClassVar[tuple[str, ...]] = ("joblib",)
    start_guess_s: ClassVar[float] = 1.0
    takes_ahead: ClassVar[bool] = False
    kind: ClassVar[str] = "loky"

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self._parallel: Any = None

    @classmethod
    def unavailable(cls) -> str | None:
        return missing("joblib", "peers")

    def open(self) -> None:
        import joblib

        self._parallel = joblib.Parallel(
            self.workers, backend=self.kind, return_as="generator_unordered"
        )
        self._parallel.__enter__()

    def close(self) -> None:
        self._parallel.__exit__(None, None, None)
        self._parallel = None
        self.end_workers()

    def end_workers(self) -> None:
        """joblib keeps its processes for minutes, for whoever is next."""
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    def hand_over(self, following: Following) -> None:
        sent: set[int] = set()
        try:
            for rank, result in self._parallel(self._jobs(following, sent)):
                call = following.calls[rank]
                following.finish(rank, self.outcome(following, call, result))
        except BrokenExecutor as error:
            following.died(sent, error)
            self.close()
            self.open()

    def _jobs(self, following: Following, sent: set[int]) -> Iterator[Any]:
        """The calls as joblib wants them; it takes them as its workers need them."""
        for rank, call in list(following.calls.items()):
            if following.is_stopped:
                return
            try:
                job = self.job(following, call)
            except NotPicklable as error:
                following.failed(rank, error)
                continue
            sent.add(rank)
            following.started(rank)
            yield job

    def job(self, following: Following, call: Call) -> Any:
        """A call as joblib wants it.

        Raises:
            NotPicklable: its action cannot be pickled.
        """
        arguments = [call.values[need] for need in call.needs]
        client, is_metered = following.client, following.session.measure_cpu
        action = client.action(call)
        return _numbered, (call.rank, action, arguments, client.levels, is_metered), {}

    def outcome(self, following: Following, call: Call, result: Any) -> Attempt | None:
        """The attempt behind a result; None if the call did not begin."""
        return in_time(call, following.client.received(call, result))


def _numbered(
    rank: int, action: bytes, arguments: list[Any], levels: dict[str, int], is_metered: bool
) -> tuple[int, Performed]:
    """In a worker: an action's outcome, with the rank of its task, because the order is lost."""
    return rank, perform_checked(action, arguments, levels, is_metered)


class JoblibThreads(Joblib):
    """`joblib.Parallel` with threads."""

    name: ClassVar[str] = "joblib-threads"
    worker_bytes: ClassVar[int] = 0
    shares_interpreter: ClassVar[bool] = True
    start_guess_s: ClassVar[float] = 0.05
    kind: ClassVar[str] = "threading"

    def end_workers(self) -> None:
        pass  # they have ended with the pool

    def job(self, following: Following, call: Call) -> Any:
        return _attempted, (following, call), {}

    def outcome(self, following: Following, call: Call, result: Any) -> Attempt | None:
        attempt: Attempt | None = result
        return attempt


def _attempted(following: Following, call: Call) -> tuple[int, Attempt | None]:
    return call.rank, following.attempt(call)
