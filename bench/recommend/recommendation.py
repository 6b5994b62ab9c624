"""What is recommended, as data: candidates with what was predicted and measured of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.analysis.estimates import Estimate
from bench.machine.noise import Verdict
from executors.backends import SEQUENTIAL


def median_and_range(values: Sequence[float]) -> Estimate:
    """A single value has no range."""
    several = len(values) > 1
    return Estimate(
        median(values), min(values) if several else None, max(values) if several else None
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend with a number of workers.

    Attributes:
        predicted: seconds, with their range over the rounds, or None.
        wall_s: of the runs that verified it; empty where none did.
        blocks: that each of these runs was in; runs of the same block stand side by side.
        start_s: what starting its backend took here, once, with a worker for each CPU.
        memory_bytes: what its workers need before they do anything.
    """

    backend: str
    workers: int
    predicted: Estimate | None
    wall_s: tuple[float, ...] = ()
    blocks: tuple[int, ...] = ()
    start_s: float = 0.0
    memory_bytes: float = 0.0

    @property
    def measured(self) -> Estimate | None:
        """The median of the runs, with their range: that of 5 covers it in 94 % of the cases."""
        return median_and_range(self.wall_s) if self.wall_s else None

    @property
    def seconds(self) -> float:
        """Measured, or else predicted."""
        if self.wall_s:
            return median(self.wall_s)
        return self.predicted.value if self.predicted is not None else float("inf")

    def __str__(self) -> str:
        if self.backend == BASELINE:
            return self.backend
        return f"{self.backend} with {self.workers} worker{'s' * (self.workers > 1)}"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to run a graph on.

    Attributes:
        name: of the graph.
        pick: None: it cannot be told.
        runner_up: the best of another backend, or None.
        candidates: all that were predicted, by backend and workers.
        span_s: the critical path, which no number of workers can beat.
        work_s: all tasks, one after the other.
        parallelism: work over span; of tasks that take no time, tasks over depth.
        regret: the pick is surely at most this part slower than any other measured candidate;
            None where fewer than two were measured.
        reason: in plain words, why this one, or what to do to be able to tell.
        verdict: how quiet the machine was.
        bound_s: seconds that no schedule of the pick can beat, by the predicted times.
        command: what to do to use the pick, or None.
        left_out: what could not be chosen, and why, in sentences.
    """

    name: str
    pick: Candidate | None
    runner_up: Candidate | None
    candidates: tuple[Candidate, ...]
    span_s: float
    work_s: float
    parallelism: float
    regret: float | None
    reason: str
    verdict: Verdict
    bound_s: float | None = None
    left_out: tuple[str, ...] = ()
    command: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.pick or 'cannot tell'}. {self.reason}"

    @property
    def sequential(self) -> Candidate:
        return next(each for each in self.candidates if each.backend == BASELINE)

    @property
    def speedup(self) -> float:
        """Of the pick, over sequential."""
        return self.sequential.seconds / self.pick.seconds if self.pick else 1.0
