"""The answer to the question of this package: what to run each graph on, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.estimates import Estimate
from bench.results.case import BASELINES
from executors.backends import STACK

MOST_DIFFERENT = 3  # picks in a clause of the sentence
PLURALS = ("threads", "processes", "interpreters")


@dataclass(frozen=True, slots=True)
class Answer:
    """What to run one graph on.

    Attributes:
        graph: the shape, the workflow, or the user's own graph.
        kernel: what its tasks do; empty for the user's own graph.
        activity: the same in words, such as "Python code"; the graph if nothing is known.
        backend, workers: the pick or, if it is not sure, the best guess.
        speedup: of these over sequential; None if sequential is not among what is known.
        is_sure: whether the runs decide it; else it is a guess.
        at_least: a lower bound of the speedup, or None.
        python: that of the pick, if there are several; else empty.
    """

    graph: str
    kernel: str
    activity: str
    backend: str
    workers: int
    speedup: Estimate | None
    is_sure: bool
    at_least: float | None = None
    python: str = ""

    @property
    def where(self) -> str:
        """For a table: threads with 16, or sequential."""
        name = self.backend.removeprefix(STACK)
        workers = "" if self.backend in BASELINES else f" with {self.workers}"
        return f"{name}{workers}{self._on_python}"

    @property
    def _on_python(self) -> str:
        return f" on {self.python}" if self.python else ""

    @property
    def clause(self) -> str:
        """For a sentence: 16 threads, or probably 16 threads."""
        text = self.where
        if self.backend in PLURALS:
            text = f"{self.workers} {self.backend}{self._on_python}"
        return text if self.is_sure else f"probably {text}"

    @property
    def certainty(self) -> str:
        """How sure it is: the interval of the speedup, or what is known of it."""
        if self.backend in BASELINES:
            return "" if self.is_sure else "best guess"
        if self.is_sure and self.speedup is not None and self.speedup.has_interval:
            return f"{self.speedup.low:.2f} to {self.speedup.high:.2f}"
        if self.at_least is not None and self.at_least > 1:
            return f"at least {floored(self.at_least)}"
        return "predicted" if self.is_sure else "best guess"


def floored(bound: float) -> str:
    """A lower bound with two decimals, never rounded up."""
    return f"{int(100 * bound) / 100:.2f}"


def sentence(answers: Sequence[Answer]) -> str:
    """For example: Waiting tasks: 16 threads. Python code: 2 processes. C code: 2 threads."""
    if not answers:
        return "Nothing can be said yet: no case has been measured together with its baseline."
    by_activity: dict[str, list[Answer]] = {}
    for answer in answers:
        by_activity.setdefault(answer.activity, []).append(answer)
    return " ".join(f"{name}: {_clause(same)}." for name, same in by_activity.items())


def _clause(answers: Sequence[Answer]) -> str:
    """The picks for tasks that do the same, with the graphs that they are for if they differ."""
    graphs: dict[str, list[str]] = {}
    for answer in answers:
        graphs.setdefault(answer.clause, []).append(answer.graph)
    if len(graphs) == 1:
        return next(iter(graphs))
    if len(graphs) > MOST_DIFFERENT:
        return f"{next(iter(graphs))} for {answers[0].graph}; it depends on the graph"
    return ", ".join(f"{pick} for {' and '.join(names)}" for pick, names in graphs.items())
