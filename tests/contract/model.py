"""Random runs for the contract suite, and the simple model that says what may come of them.

A task's value is its index plus the sum of its arguments, so a wrong value, a lost argument or a
wrong order of needs shows. How often an action was called is counted in files, because calls may
come from several processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from executors import FailurePolicy, Graph, RunReport, Status, Task


@dataclass(frozen=True)
class Plan:
    """One task of a random run: it fails its first `failures` calls with an `error`."""

    needs: tuple[int, ...]
    failures: int
    retries: int
    error: str
    slots: int
    context: int | None

    @property
    def is_doomed(self) -> bool:
        return self.failures > self.retries


@st.composite
def plans(draw: st.DrawFn, size: int = 12) -> list[Plan]:
    drawn: list[Plan] = []
    for index in range(draw(st.integers(1, size))):
        earlier = st.integers(0, index - 1) if index else st.nothing()
        needs = draw(st.lists(earlier, max_size=3)) if index else []
        failures = draw(st.sampled_from([0, 0, 0, 0, 1, 2]))
        retries = draw(st.sampled_from([0, 0, 1, 2]))
        error = draw(st.sampled_from(["ValueError", "SystemExit", "KeyboardInterrupt"]))
        slots = draw(st.sampled_from([1, 1, 1, 2, 9]))
        context = draw(st.sampled_from([None, None, None, 0, 1]))
        drawn.append(Plan(tuple(needs), failures, retries, error, slots, context))
    return drawn


def _name(index: int) -> str:
    return f"t{index}"


def _action(folder: Path, index: int, plan: Plan) -> Callable[..., Any]:
    path, failures, error = str(folder / _name(index)), plan.failures, plan.error

    def action(*arguments: int) -> int:
        with open(path, "ab") as calls:  # noqa: PTH123 - a closure that imports nothing
            calls.write(b".")
        if os.path.getsize(path) <= failures:  # noqa: PTH202
            errors = {"ValueError": ValueError, "SystemExit": SystemExit}
            raise errors.get(error, KeyboardInterrupt)(f"planned in {path}")
        return index + sum(arguments)

    return action


def graph_of(drawn: list[Plan], folder: Path) -> Graph:
    return Graph(
        Task(
            _name(index),
            _action(folder, index, plan),
            needs=tuple(_name(need) for need in plan.needs),
            retries=plan.retries,
            slots=plan.slots,
            context=plan.context,
        )
        for index, plan in enumerate(drawn)
    )


def calls_made(folder: Path, index: int) -> int:
    path = folder / _name(index)
    return path.stat().st_size if path.exists() else 0


def expected(drawn: list[Plan]) -> tuple[list[Status], list[int | None]]:
    """Status and value of each task when failures stop nothing unrelated."""
    statuses: list[Status] = []
    values: list[int | None] = []
    for index, plan in enumerate(drawn):
        if any(statuses[need] is not Status.SUCCEEDED for need in plan.needs):
            statuses.append(Status.UPSTREAM_FAILED)
            values.append(None)
        elif plan.is_doomed:
            statuses.append(Status.FAILED)
            values.append(None)
        else:
            statuses.append(Status.SUCCEEDED)
            values.append(index + sum(values[need] or 0 for need in plan.needs))
    return statuses, values


def check(
    drawn: list[Plan], report: RunReport, policy: FailurePolicy, workers: int, folder: Path
) -> None:
    """Fails unless the model allows this report, of a run with keep="all"."""
    statuses, values = expected(drawn)
    records = [report.tasks[_name(index)] for index in range(len(drawn))]
    for index, (plan, record) in enumerate(zip(drawn, records, strict=True)):
        status = record.status
        if policy.starts_unrelated:
            assert status is statuses[index]
        killed_early = status is Status.STOPPED  # maybe before its action began
        assert len(record.attempts) - calls_made(folder, index) in (0, int(killed_early))
        if status is Status.SUCCEEDED:
            assert statuses[index] is Status.SUCCEEDED
            assert report.values[record.name] == values[index]
            assert len(record.attempts) == plan.failures + 1
        else:
            assert record.name not in report.values
        if status is Status.FAILED:
            assert type(record.error).__name__ == plan.error
            assert all(records[need].status is Status.SUCCEEDED for need in plan.needs)
            assert len(record.attempts) <= plan.retries + 1
            if len(record.attempts) <= plan.retries:
                assert report.stop_reason, "gave up early without a reason"
        if status is Status.UPSTREAM_FAILED:
            assert any(
                records[need].status in (Status.FAILED, Status.UPSTREAM_FAILED)
                for need in plan.needs
            )
        if status is Status.STOPPED:
            assert policy.stops_running
        if status is Status.NOT_STARTED:
            assert not policy.starts_unrelated
        if status in (Status.UPSTREAM_FAILED, Status.NOT_STARTED):
            assert not record.attempts
    if Status.FAILED not in statuses:
        assert report.succeeded
        assert report.stop_reason is None
    else:
        assert report.failures
        assert bool(report.stop_reason) is not policy.starts_unrelated
    _check_times(drawn, report, policy, workers)


def _check_times(drawn: list[Plan], report: RunReport, policy: FailurePolicy, workers: int) -> None:
    records = [report.tasks[_name(index)] for index in range(len(drawn))]
    for plan, record in zip(drawn, records, strict=True):
        for attempt in record.attempts:
            assert report.started_s <= attempt.started_s <= attempt.ended_s <= report.ended_s
            for need in plan.needs:
                assert records[need].attempts[-1].ended_s <= attempt.started_s
        if record.attempts and record.taken_s is not None:
            assert record.ready_s is not None
            assert record.received_s is not None
            assert record.ready_s <= record.taken_s <= record.received_s
    given_up = [
        record.received_s
        for plan, record in zip(drawn, records, strict=True)
        if record.status is Status.FAILED and len(record.attempts) > plan.retries
    ]
    if given_up and not policy.starts_unrelated:
        first = min(at_s for at_s in given_up if at_s is not None)
        assert all(record.taken_s <= first for record in records if record.taken_s is not None)
    _check_overlaps(drawn, report, workers)


def _check_overlaps(drawn: list[Plan], report: RunReport, workers: int) -> None:
    """At every start: the slots in use fit, and one context is active at most."""
    spans = [
        (attempt.started_s, attempt.ended_s, min(plan.slots, workers), plan.context)
        for index, plan in enumerate(drawn)
        for attempt in report.tasks[_name(index)].attempts
    ]
    for start_s, _, _, _ in spans:
        active = [span for span in spans if span[0] <= start_s < span[1]]
        assert sum(span[2] for span in active) <= workers
        assert len({span[3] for span in active if span[3] is not None}) <= 1
