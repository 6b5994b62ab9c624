"""The part of a page on where the time went: tables of shares, and the largest losses in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.analysis.estimates import Estimate
from bench.analysis.losses.account import Account, Part
from bench.analysis.stacks import StackRow
from bench.analysis.summary import Group
from bench.workloads.duration import shown
from reports.markdown import table

TITLES = {
    Part.WORK: "work, as in the sequential run",
    Part.WAITING: "waiting for the interpreter lock or a core",
    Part.SLOWER: "more processor time for the same work",
    Part.GRAPH: "no task was ready",
    Part.ORDER: "long tasks started too late",
    Part.HANDOVER: "handing over: a task was ready, a worker free",
    Part.RETURN: "return: an outcome was on its way",
    Part.EDGES: "start and end of the run",
    Part.RETRIED: "attempts that failed and were repeated",
    Part.DELAY: "delays before retries",
    Part.RESERVED: "workers reserved by tasks with several slots",
}

# Columns of the table, each with the parts that it adds up.
COLUMNS = {
    "work": (Part.WORK,),
    "longer": (Part.WAITING, Part.SLOWER),
    "graph": (Part.GRAPH, Part.ORDER),
    "overhead": (Part.HANDOVER, Part.RETURN, Part.DELAY, Part.EDGES, Part.RETRIED, Part.RESERVED),
}


STACK_TITLES = [
    *("stack", "workers", "makespan", "a step beyond its kernel", "waiting to start"),
    *("most at once", "before the first step", "first pipeline"),
]
STACK_NOTE = (
    "From the times in ZenML's store, medians. The makespan is from the start of the first step to"
    " the end of the last one. A step's own time beyond its kernel is the work of ZenML and of the"
    " orchestrator, and waiting for cores or locks. The first pipeline, of one empty step, is"
    " measured once per block, when workers have to start and images have to be built; it counts"
    " as the start of the cold speedup."
)


def account_section(group: Group) -> Iterator[str]:
    """The parts of the page; none if the results do not have them."""
    rows = [
        [row.case.line, str(row.case.workers), *_cells(row.account)]
        for row in group.rows
        if row.account is not None and not row.case.is_baseline
    ]
    if not rows:
        return
    yield "Where the time of the workers went, in % of workers x makespan:"
    yield table(["backend", "workers", *COLUMNS], rows, right_from=1)
    if group.causes:
        lines = [f"- {case.where}: {cause}" for case, cause in group.causes.items()]
        yield "\n".join(["The largest loss of the best case of each backend:", "", *lines])


def detail(group: Group) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of a table: all parts of the best case of each backend, with intervals.

    Parts that none of them has are left out.
    """
    accounts = {
        row.case.where: row.account
        for row in group.rows
        if row.case in group.causes and row.account is not None
    }
    rows = []
    for part, title in TITLES.items():
        shares = [account.shares[part] for account in accounts.values()]
        if any(_percent(share) != "0.0" for share in shares):
            rows.append([title, *map(_percent, shares)])
    return ["", *accounts], rows


def _percent(share: Estimate) -> str:
    value = f"{100 * share.value + 0:.1f}".replace("-0.0", "0.0")
    if share.low is None or share.high is None or value == "0.0":
        return value
    return f"{value} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _cells(account: Account) -> list[str]:
    return [
        str(round(100 * sum(account.shares[part].value for part in parts)))
        for parts in COLUMNS.values()
    ]


def stack_section(rows: Sequence[StackRow]) -> Iterator[str]:
    """A table with a line for each stack, and what it means."""
    yield table(STACK_TITLES, stack_cells(rows), right_from=1)
    yield STACK_NOTE


def stack_cells(rows: Sequence[StackRow]) -> list[list[str]]:
    """The cells of the table."""
    return [
        [
            row.case.name,
            str(row.case.workers),
            shown(row.makespan_s),
            shown(row.step_s),
            shown(row.queued_s),
            str(row.most_at_once),
            shown(row.before_s),
            shown(row.first_s),
        ]
        for row in rows
    ]
