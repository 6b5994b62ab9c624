"""All cases of one shape and kernel, and what they say in words."""

from __future__ import annotations

from dataclasses import dataclass

from bench.analysis.answer import Answer
from bench.analysis.estimates import Estimate, lower_bound
from bench.analysis.losses.causes import Cause
from bench.analysis.rows import Row, is_near
from bench.analysis.scaling import Fits
from bench.analysis.stacks import StackRow
from bench.results.case import Case
from bench.workloads.own_graphs import OWN_TASKS


@dataclass(frozen=True, slots=True)
class Group:
    """All cases of one shape and kernel.

    Attributes:
        activity: what the tasks do, in words.
        tasks, depth: those of the graph, all of whose tasks have the same kernel.
        parallelism: work over span of a workflow, whose tasks differ in length; else None.
        pick: the case with the fewest workers that is reliably within 5 % of the fastest, or
            the fastest; the baseline if no case is reliably faster.
        guess: if the runs do not decide, the fewest workers within 5 % of the fastest case by
            their medians; else None.
        rival: of the other backends' cases that may be picked, the fewest workers within 5 % of the
            fastest, by their medians; or None.
        ceilings: joint speed of independent processes over that of one, by their number; of the
            first Python.
        fits: curves through the times of each backend, for captions.
        sharing: what it costs threads to share what the kernel's tasks share, in sentences.
        causes: why the best case of each backend is not faster, by case.
        stacks: what each stack costs, if these are ZenML stacks.
    """

    shape: str
    kernel: str
    activity: str
    tasks: int
    depth: int
    parallelism: float | None
    rows: tuple[Row, ...]
    pick: Row
    guess: Row | None
    rival: Row | None
    ceilings: dict[int, Estimate]
    fits: dict[str, Fits]
    causes: dict[Case, Cause]
    stacks: tuple[StackRow, ...] = ()
    sharing: tuple[str, ...] = ()

    @property
    def reference(self) -> Row:
        """What the speedups are measured against: it comes first."""
        return self.rows[0]

    @property
    def baseline(self) -> str:
        """Its name."""
        return self.reference.case.line

    @property
    def pythons(self) -> list[str]:
        """Those that are compared; none if there is only one."""
        return list(dict.fromkeys(row.case.python for row in self.rows if row.case.python))

    @property
    def name(self) -> str:
        """The shape and what its tasks do."""
        return self.shape if self.is_own else f"{self.shape}, {self.kernel}"

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own graph, whose tasks have no kernel."""
        return self.kernel == OWN_TASKS

    @property
    def answer(self) -> Answer:
        """What to run it on, and how sure that is."""
        row = self.guess or self.pick
        return Answer(
            self.shape,
            "" if self.is_own else self.kernel,
            self.activity,
            row.case.backend,
            row.case.workers,
            row.speedup,
            is_sure=self.guess is None,
            at_least=lower_bound(self.reference.wall_s, row.wall_s),
            python=row.case.python,
        )

    @property
    def measured(self) -> list[Row]:
        """The rows whose cases ran, without simulated ones."""
        return [row for row in self.rows if not row.case.is_simulated]

    def bound(self, workers: int | None = None) -> float:
        """The largest speedup that the graph allows; None: with unlimited workers.

        With equal tasks, p workers need at least max(ceil(tasks / p), depth) steps (Brent 1974),
        with others max(work / p, span) seconds.
        """
        if self.parallelism is not None:
            return min(self.parallelism, float("inf") if workers is None else workers)
        steps = self.depth if workers is None else max(-(-self.tasks // workers), self.depth)
        return self.tasks / steps


def finding_of(group: Group) -> str:
    """The pick of a shape and kernel, and its speedup, in words."""
    pick, rival = group.pick, group.rival
    if pick is group.reference:
        return f"no other case is reliably faster than {group.baseline}"
    interval = ""
    if pick.speedup.low is not None and pick.speedup.high is not None:
        interval = f" ({pick.speedup.low:.2f} to {pick.speedup.high:.2f})"
    workers = "" if pick.case.is_baseline else f" with {pick.case.workers} workers"
    where = f"{pick.case.name}{workers}" + (f" on {pick.case.python}" if pick.case.python else "")
    tie = ""
    if rival is not None and pick.speedup.has_interval and is_near(rival, pick):
        tie = f", and {rival.case.where} takes at most 5 % longer"
    return f"{where}: {pick.speedup.value:.2f} times as fast as {group.baseline}{interval}{tie}"
