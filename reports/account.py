"""The part of a page on where the time went: a table of shares, and the largest losses in words."""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.losses.account import Account, Part
from bench.analysis.summary import Group
from reports.markdown import table

# Columns of the table, each with the parts that it adds up.
COLUMNS = {
    "work": (Part.WORK,),
    "longer": (Part.WAITING, Part.SLOWER),
    "graph": (Part.GRAPH, Part.ORDER),
    "overhead": (Part.HANDOVER, Part.RETURN, Part.DELAY, Part.EDGES, Part.RETRIED, Part.RESERVED),
}


def account_section(group: Group) -> Iterator[str]:
    """The parts of the page; none if the results do not have them."""
    rows = [
        [row.case.backend, str(row.case.workers), *_cells(row.account)]
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


def _cells(account: Account) -> list[str]:
    return [
        f"{100 * sum(account.shares[part].value for part in parts):.0f}"
        for parts in COLUMNS.values()
    ]
