"""What differs between Pythons, beside their times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.analysis.rows import Row
from bench.machine.facts import differing_builds
from bench.results.store import Results
from bench.workloads.kernels import Kernel


def has_lock(results: Results, python: str) -> bool:
    """Whether threads of a Python took turns, at least when the run ended."""
    state = next((one for one in results.locks if one.python == python), None)
    if state is not None:
        return state.gil == "on"
    facts: Mapping[str, Any] = results.header["versions"]
    if python:
        facts = results.header["pythons"][python]
    return facts.get("gil") != "off"


def remarks(results: Results) -> Iterator[str]:
    """What a reader has to know before comparing times of different Pythons."""
    pythons = results.header.get("pythons", {})
    if (text := differing_builds(pythons)) is not None:
        yield text
    for state in results.locks:
        if state.gil == "off":
            continue
        what = f"Python {state.python}" if state.python else "This Python"
        by = f" by {', '.join(state.switched_on_by)}" if state.switched_on_by else ""
        yield (
            f"{what} is free-threaded, but its interpreter lock was on when the run ended: it was"
            f" switched on{by or ' when it was started'}, so its threads took turns."
        )


def sharing(rows: Sequence[Row], kind: Kernel | None, cpus: int) -> Iterator[str]:
    """What it costs threads to share what the kernel's tasks share, on each Python."""
    if kind is None or not kind.shares:
        return
    threads: dict[str, Row] = {}
    for row in rows:
        if row.case.backend == "threads" and 1 < row.case.workers <= max(cpus, 2):
            threads[row.case.python] = row  # those with the most workers come last
    for python, row in threads.items():
        on = f" on {python}" if python else ""
        yield (
            f"{row.case.workers} threads that share {kind.shares} are {row.own.value:.2f} times as"
            f" fast as one{on}."
        )
