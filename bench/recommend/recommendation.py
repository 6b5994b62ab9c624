"""What is recommended, as data: candidates with their predictions and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median
from typing import Any

from bench.analysis.answer import Answer
from bench.analysis.estimates import (
    INDIFFERENCE,
    MIN_SAMPLES,
    Estimate,
    lower_bound,
    median_ratio_of_pairs,
    ratio_of_medians,
)
from bench.machine.noise import Verdict
from bench.results.case import BASELINE
from bench.workloads.duration import between, shown
from executors import usable_cpus
from executors.core.tables import data_frame, html_table, text_table

ENDS = ("value", "low", "high")


def with_range(estimate: Estimate | None) -> str:
    """A time with its range, for example 190 ms (184 to 195 ms)."""
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None or not estimate.value:
        return shown(estimate.value)
    return f"{shown(estimate.value)} ({between(estimate.low, estimate.high)})"


def median_and_range(values: Sequence[float]) -> Estimate:
    """The median of values, and their range; a single value has none."""
    has_range = len(values) > 1
    return Estimate(
        median(values), min(values) if has_range else None, max(values) if has_range else None
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend with a number of workers.

    Attributes:
        predicted: seconds, with their range over the rounds, or None.
        wall_s: seconds of the runs that verified it; empty if there were none.
        blocks: the block of each of these runs; runs of the same block are comparable.
        start_s: how long the backend took to start here, once, with one worker per CPU.
        memory_bytes: memory that its workers need before they do anything.
        python: what runs it, if several are compared; else empty.
    """

    backend: str
    workers: int
    predicted: Estimate | None
    wall_s: tuple[float, ...] = ()
    blocks: tuple[int, ...] = ()
    start_s: float = 0.0
    memory_bytes: float = 0.0
    python: str = ""

    @property
    def line(self) -> str:
        """The backend and, if there are several, the Python."""
        return f"{self.backend} on {self.python}" if self.python else self.backend

    @property
    def is_baseline(self) -> bool:
        return self.backend == BASELINE

    @property
    def can_gain(self) -> bool:
        """False for a pool of one worker, which cannot be faster than sequential."""
        return self.workers > 1 or self.is_baseline

    @property
    def measured(self) -> Estimate | None:
        """Median and range of the runs; with 5 runs, the range covers the true median in 94 %."""
        return median_and_range(self.wall_s) if self.wall_s else None

    @property
    def seconds(self) -> float:
        """Measured, or else predicted."""
        if self.wall_s:
            return median(self.wall_s)
        return self.predicted.value if self.predicted is not None else float("inf")

    def __str__(self) -> str:
        if self.is_baseline:
            return self.line
        on = f" on {self.python}" if self.python else ""
        return f"{self.backend} with {self.workers} worker{'s' * (self.workers > 1)}{on}"


def ratio_of_times(candidate: Candidate, other: Candidate) -> Estimate:
    """The ratio of the times of two, block by block if they have enough blocks in common."""
    walls = dict(zip(candidate.blocks, candidate.wall_s, strict=False))  # not known of results
    other_walls = dict(zip(other.blocks, other.wall_s, strict=False))
    common = [block for block in walls if block in other_walls]
    if len(common) < MIN_SAMPLES:
        return ratio_of_medians(candidate.wall_s, other.wall_s)
    return median_ratio_of_pairs(
        [walls[block] for block in common], [other_walls[block] for block in common]
    )


@dataclass(frozen=True, slots=True, repr=False)
class Recommendation:
    """What to run a graph on.

    Attributes:
        graph: its name.
        kernel: what its tasks do; empty for the user's own graph.
        activity: the same in words.
        pick: None if it cannot tell.
        guess: what is probably best if it cannot tell; else None.
        runner_up: the best candidate of another backend, or None.
        candidates: all predicted ones, by backend and workers.
        span_s: the critical path, which no number of workers can beat.
        work_s: all tasks, one after the other.
        parallelism: work over span; tasks over depth if tasks take no time.
        regret: the pick is reliably at most this share slower than any other measured candidate;
            None if fewer than two were measured.
        reason: in plain words, why this one, or what to do to be able to tell.
        verdict: how quiet the machine was; None if nothing was measured.
        bound_s: seconds that no schedule of the pick can beat, by the predicted times.
        left_out: candidates that could not be considered, and why, in sentences.
        remarks: what made the first run on a backend slow, in sentences.
        command: the command that puts the pick to use, or None.
        cpus: how many CPUs the runs could use.
    """

    graph: str
    pick: Candidate | None
    runner_up: Candidate | None
    candidates: tuple[Candidate, ...]
    span_s: float
    work_s: float
    parallelism: float
    regret: float | None
    reason: str
    verdict: Verdict | None
    bound_s: float | None = None
    left_out: tuple[str, ...] = ()
    command: str | None = None
    guess: Candidate | None = None
    remarks: tuple[str, ...] = ()
    kernel: str = ""
    activity: str = ""
    cpus: int = field(default_factory=usable_cpus)

    @property
    def name(self) -> str:
        """The graph and what its tasks do."""
        return f"{self.graph}, {self.kernel}" if self.kernel else self.graph

    @property
    def answer(self) -> Answer | None:
        """In short; None if nothing can be said."""
        candidate = self.pick or self.guess
        if candidate is None:
            return None
        return Answer(
            self.graph,
            self.kernel,
            self.activity or self.graph,
            candidate.backend,
            candidate.workers,
            self._speedup_of(candidate),
            is_sure=self.is_verified,
            at_least=self.at_least(candidate),
            python=candidate.python,
        )

    @property
    def is_verified(self) -> bool:
        """Whether the pick has run, or needs no run because nothing can run in parallel."""
        if self.pick is None:
            return False
        is_predicted = not self.measured  # nothing was to run
        return bool(self.pick.wall_s) or is_predicted or self.parallelism < 1 + INDIFFERENCE

    def _speedup_of(self, candidate: Candidate) -> Estimate | None:
        """Of the measured times or, if the sequential backend did not run, of its predicted time.

        That is divided by the longer one of the candidate's measured and predicted times: the
        machine may have got faster in between, or the prediction of the candidate was wrong.
        """
        alone = self.sequential
        if candidate.wall_s and alone.wall_s:
            return ratio_of_times(alone, candidate)
        predicted_s = candidate.predicted.value if candidate.predicted is not None else 0.0
        longest_s = max(predicted_s, candidate.seconds)
        if alone.predicted is None or not longest_s:
            return None
        return Estimate(alone.predicted.value / longest_s, None, None)

    def at_least(self, candidate: Candidate) -> float | None:
        """A speedup over sequential that is reached; None if one of both ran too seldom."""
        if not candidate.wall_s or not self.sequential.wall_s:
            return None  # one of them has not run
        return lower_bound(self.sequential.wall_s, candidate.wall_s)

    def __str__(self) -> str:
        return f"{self.name}: {self.pick or 'cannot tell'}. {self.reason}"

    def __repr__(self) -> str:
        return f"<Recommendation {self.name!r}: {self.pick or 'cannot tell'}>"

    def summary(self) -> str:
        """The pick, a table of the candidates with their times, and the reason."""
        lines = text_table(*self.table(), left=2)
        return "\n".join([f"{self.name}: {self.pick or 'cannot tell'}", *lines, "", self.reason])

    def _repr_html_(self) -> str:
        speedup = "" if self.speedup is None else f" Speedup: {self.speedup:.2f}."
        return f"<p>{escape(str(self) + speedup)}</p>\n{html_table(*self.table())}"

    def to_pandas(self) -> Any:
        """A DataFrame with a row per candidate; predicted and measured times in seconds.

        Raises:
            ImportError: pandas is not installed.
        """
        columns = ["backend", "workers", "is_pick"]
        columns += [f"{how}_{end}_s" for how in ("predicted", "measured") for end in ENDS]
        rows = []
        for candidate in self.candidates:
            row: list[object] = [candidate.backend, candidate.workers, candidate is self.pick]
            for estimate in (candidate.predicted, candidate.measured):
                row += [getattr(estimate, end, None) for end in ENDS]
            rows.append(row)
        return data_frame(columns, rows)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Titles and rows of the candidates: * marks the pick, ? the best guess."""
        has_predictions = any(candidate.predicted for candidate in self.candidates)
        titles = ["", "backend", "workers", *(["predicted"] if has_predictions else [])]
        titles += ["measured (range)"] if self.measured else []
        rows = []
        for candidate in self.candidates:
            row = ["*" if candidate is self.pick else "?" if candidate is self.guess else ""]
            row += [candidate.line, str(candidate.workers)]
            if has_predictions:
                row.append(shown(candidate.predicted.value) if candidate.predicted else "")
            if self.measured:
                row.append(with_range(candidate.measured))
            rows.append(row)
        return titles, rows

    @property
    def sequential(self) -> Candidate:
        """What speedups are measured against; if there are several Pythons, the first one's."""
        return next(candidate for candidate in self.candidates if candidate.is_baseline)

    @property
    def measured(self) -> list[Candidate]:
        """The candidates that have run."""
        return [candidate for candidate in self.candidates if candidate.wall_s]

    @property
    def speedup(self) -> float | None:
        """The pick's speedup over sequential; None without a pick, or if it is not known."""
        speedup = None if self.pick is None else self._speedup_of(self.pick)
        return None if speedup is None else speedup.value
