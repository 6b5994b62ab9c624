"""`bench run --dry-run`: the plan, and about how long it takes."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from bench.measure.prepared import PreparedPlan
from bench.terminal.output import counted, echo, first_column, warn
from bench.workloads.duration import estimated, shown
from bench.workloads.own_graphs import OWN_TASKS


def show_plan(prepared: PreparedPlan, form: str) -> int:
    """Prints the cases of a plan, and how long they take; returns the exit code."""
    planned = prepared.plan
    if form == "json":
        echo(json.dumps(_content(prepared), indent=1))
        return 0
    pad = first_column((case.line for case in planned.cases), 11)
    subject = None
    for case in planned.cases:
        if (case.shape, case.kernel) != subject:
            subject = case.shape, case.kernel
            echo(", ".join(subject))
        time = f"about {shown(prepared.expected_s(case), 2)} per block"
        if case.kernel == OWN_TASKS:
            time = "time not known: it has not run yet"
        echo(f"  {pad(case.line)}{case.workers:>7}  {time}")
    for kernel, counts in planned.ceilings:
        numbers = ", ".join(map(str, counts))
        each = " on each Python" if planned.pythons.interpreters else ""
        echo(f"ceiling of {kernel.text}: {numbers} independent processes{each}")
    most = "" if planned.options.precision is None else " at most"
    blocks = f"{counted(prepared.blocks, 'block')}{most}"
    total = estimated(prepared.forecast().left_s(0, set()))
    beside = ", not counting your own graphs" if planned.graphs else ""
    cases = counted(len(planned.cases), "case")
    if not planned.shapes:
        echo(f"{cases}, {blocks}. Nothing was measured.")
        return 0
    echo(f"{cases}, {blocks}: about {total}{beside}. Nothing was measured.")
    if planned.budget_s is not None and prepared.block_s > planned.budget_s:
        warn(
            f"a block takes about {estimated(prepared.block_s)}, longer than the budget; raise"
            " --budget, or measure fewer cases"
        )
    return 0


def _content(prepared: PreparedPlan) -> dict[str, Any]:
    """The plan, its cases in the order of the first block."""
    planned = prepared.plan
    return {
        "cases": [
            {**asdict(case), "expected_s": prepared.expected_s(case)}
            for _, cases in planned.block(0)
            for case in cases
        ],
        "ceilings": {kernel.text: counts for kernel, counts in planned.ceilings},
        "blocks": prepared.blocks,
        "block_s": prepared.block_s,
        "budget_s": planned.budget_s,
        "precision": planned.options.precision,
    }
