"""Why a case is not faster: its largest loss in words, what would help, and by how much at most.

The most that a remedy gives is simulated: the tasks of the case's timeline, with and without the
loss, on as many workers and without a scheduler's overheads. What that saves is taken off the
makespan that was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.losses.account import Account, Part
from bench.analysis.losses.what_if import WhatIf
from bench.analysis.pythons import has_lock
from bench.analysis.rows import Row, guess_of
from bench.results.case import Case
from bench.results.store import Results
from bench.results.timelines import GraphTasks, Timeline
from bench.workloads.duration import shown
from executors.backends import backend_class

WORTH_SAYING = 0.02  # share of the workers' time; a smaller loss is none
STALLED = 0.7  # of the cores that running tasks want; fewer are computing if a lock stops them
LEAST_GAIN = 0.01  # of the makespan
MOST_NAMES = 3  # of tasks in a sentence, beside the last one
BY_LOCK = "tasks, and the handing over of tasks, wait for the interpreter lock"
PROCESSES = {  # what would help against the lock, by whether processes were faster
    True: "Processes have one each, and were faster.",
    False: "Processes have one each, but were slower; longer tasks lose less.",
    None: "Processes have one each.",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """The largest loss of a case.

    Attributes:
        part: the part of the account.
        share: of workers x makespan.
        loss: what happened, in words.
        remedy: what would help, in words.
        condition: what the gain depends on, in words.
        gain: how many times as fast the run would be at most without this loss; None: not known,
            because the results have no timeline of the case, or of the sequential run.
        median_s: of the case's runs.
    """

    part: Part
    share: float
    loss: str
    remedy: str
    condition: str
    gain: float | None
    median_s: float

    def __str__(self) -> str:
        most = ""
        if self.gain is not None and self.gain >= 1 + LEAST_GAIN:
            least, now = shown(self.median_s / self.gain), shown(self.median_s)
            faster = f"{least} at best, instead of {now}: {self.gain:.2f} times as fast."
            most = f" {self.condition}, the run would take {faster}"
        return f"{100 * self.share:.0f} % of the workers' time: {self.loss}. {self.remedy}{most}"


def causes_of(results: Results, best: Row, rows: Sequence[Row]) -> dict[Case, Cause]:
    """Why the best case of each backend (on each Python) is not faster; of all of them first."""
    timelines = {timeline.case: timeline for timeline in results.timelines}
    graphs = {tasks.shape: tasks for tasks in results.graphs}
    by_line = {_line(best): [best]}
    for row in rows:
        if _line(row) != _line(best):
            by_line.setdefault(_line(row), []).append(row)
    choices = {line: guess_of(of_line) for line, of_line in by_line.items()}
    causes = {}
    for choice in choices.values():
        if choice.account is None or choice.case.is_baseline:
            continue
        processes = choices.get(("processes", choice.case.python))
        cause = cause_of(
            choice.case,
            choice.account,
            choice.median_s,
            int(results.header["cpus"]),
            has_lock(results, choice.case.python),
            graphs.get(choice.case.shape),
            timelines.get(choice.case),
            timelines.get(choice.case.baseline),
            None if processes is None else processes.median_s < choice.median_s,
        )
        if cause is not None:
            causes[choice.case] = cause
    return causes


def _line(row: Row) -> tuple[str, str]:
    return row.case.backend, row.case.python


def cause_of(
    case: Case,
    account: Account,
    median_s: float,
    cpus: int,
    has_lock: bool,
    tasks: GraphTasks | None = None,
    timeline: Timeline | None = None,
    alone: Timeline | None = None,
    processes_are_faster: bool | None = None,
) -> Cause | None:
    """The largest loss of a case; None if it loses next to nothing.

    Args:
        median_s: of the case's runs.
        has_lock: the interpreter that ran it has an interpreter lock.
        alone: the timeline of the sequential run.
        processes_are_faster: whether their best case is; None if they were not measured.
    """
    part = account.largest
    share = account.shares[part].value
    is_lock = has_lock and _is_stalled(case, account, cpus)
    if is_lock:  # taking a task needs the lock, too
        by_lock = share_of(account, Part.WAITING, Part.HANDOVER)
        if by_lock > share or part is Part.HANDOVER:
            part, share = Part.WAITING, by_lock
    if share < WORTH_SAYING:
        return None
    what_if = None
    if tasks is not None and timeline is not None and len(tasks.names) == tasks.tasks:
        what_if = WhatIf(tasks, timeline, alone, cpus)
    gain = what_if.gain(part, share) if what_if else None
    if part is Part.WAITING and is_lock:
        loss, remedy = BY_LOCK, PROCESSES[processes_are_faster]
    else:
        loss, remedy = _words(part, case, cpus, what_if)
    is_core = part is Part.WAITING and not is_lock and case.workers > cpus
    condition = f"With {case.workers} CPUs" if is_core else "Without this loss"
    return Cause(part, share, loss, remedy, condition, gain, median_s)


def share_of(account: Account, *parts: Part) -> float:
    """The share of some parts together."""
    return sum(account.shares[part].value for part in parts)


def _is_stalled(case: Case, account: Account, cpus: int) -> bool:
    """Whether tasks that could compute wait for an interpreter lock."""
    if not backend_class(case.backend).shares_interpreter:
        return False
    wanted = min(account.cores_wanted, cpus)
    return wanted > 1 and account.cores_computing < STALLED * wanted


def _words(part: Part, case: Case, cpus: int, what_if: WhatIf | None) -> tuple[str, str]:
    """What happened, and what would help; not for an interpreter lock."""
    if part is Part.WAITING and case.workers > cpus:
        return (
            f"tasks wait for a core: {case.workers} workers share {cpus} CPUs",
            "More workers than CPUs help only while tasks wait for something else.",
        )
    if part is Part.WAITING:
        return (
            "tasks wait longer than one after the other, for a core or for each other",
            "Look for other programs that use the CPUs, and for locks that the tasks share.",
        )
    if part is Part.GRAPH:
        return "no task is ready", _remedy_for_graph(what_if)
    return {
        Part.SLOWER: (
            "tasks need more processor time than one after the other: they share caches,"
            " memory bandwidth or a core",
            "Tasks that touch less memory lose less; more workers lose more.",
        ),
        Part.ORDER: (
            "long tasks start too late",
            "Set cost_s of the tasks, so that the most urgent ones start first.",
        ),
        Part.HANDOVER: (
            "tasks are ready and a worker is free, but they have not started",
            "Longer tasks lose less, for example several in one.",
        ),
        Part.RETURN: (
            "outcomes are on their way to the scheduler",
            "Longer tasks and smaller values lose less.",
        ),
        Part.DELAY: (
            "a failed task waits for its next attempt",
            "Find out why it fails, or shorten its retry_delay_s.",
        ),
        Part.EDGES: ("the run starts or ends", "Longer runs lose less."),
        Part.RETRIED: ("attempts failed and were repeated", "Find out why they fail."),
        Part.RESERVED: (
            "tasks with several slots occupy workers that run nothing else",
            "Give them as many slots as they use.",
        ),
    }[part]


def _remedy_for_graph(what_if: WhatIf | None) -> str:
    remedy = "More workers do not help."
    if what_if is None:
        return remedy
    if (task := what_if.long_task) is not None:
        return f"{remedy} Split the task {task!r}."
    *others, last = (repr(task.name) for task in what_if.path)
    if len(others) > MOST_NAMES:
        others[1:] = [f"{len(others) - 1} more"]
    path = f"The longest chain of needs ({', '.join([*others, last])})"
    takes = f"takes {shown(what_if.path_s)}, by the times of the sequential run"
    return f"{remedy} {path} {takes}: shorten these tasks, or remove needs."
