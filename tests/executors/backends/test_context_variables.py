"""Context variables of the caller, as actions see them in threads of this process."""

from __future__ import annotations

import decimal
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
import pytest

from executors import Backend, Graph, Task, load_backend, run

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.fixture(params=["sequential", "threads"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with load_backend(request.param, 2) as pool:
        yield pool


def tenants(backend: Backend, count: int = 6) -> set[str]:
    return set(
        run(Graph(Task(str(at), TENANT.get) for at in range(count)), backend).values.values()
    )


def test_each_run_sees_the_variables_of_its_caller(backend: Backend) -> None:
    for name in ("alice", "bob"):  # in the same threads
        token = TENANT.set(name)
        try:
            assert tenants(backend) == {name}
        finally:
            TENANT.reset(token)
    assert tenants(backend) == {"nobody"}


def test_settings_that_hold_for_the_caller_hold_for_actions(backend: Backend) -> None:
    tasks = [
        Task("third", lambda: str(decimal.Decimal(1) / 3)),
        Task("infinite", lambda: str(np.array([1.0]) / np.array([0.0]))),
    ]
    with decimal.localcontext(prec=8), np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        report = run(Graph(tasks), backend)
        report.raise_for_failures()
    assert report.values == {"third": "0.33333333", "infinite": "[inf]"}


def test_what_an_attempt_sets_is_seen_by_no_other_one_and_not_by_the_caller(
    backend: Backend,
) -> None:
    def change(*_: object) -> str:
        seen = TENANT.get()
        TENANT.set("changed")
        return seen

    chain = [Task("0", change), *(Task(str(at), change, (str(at - 1),)) for at in range(1, 6))]
    report = run(Graph(chain), backend, keep="all")
    assert set(report.values.values()) == {"nobody"}
    assert TENANT.get() == "nobody"


def test_a_retry_starts_with_the_variables_of_the_caller(backend: Backend) -> None:
    seen = []

    def fail_once() -> None:
        seen.append(TENANT.get())
        TENANT.set("changed")
        if len(seen) == 1:
            raise ValueError

    assert run(Graph([Task("t", fail_once, retries=1)]), backend).succeeded
    assert seen == ["nobody", "nobody"]


def test_what_an_attempt_sets_in_a_worker_process_is_seen_by_no_other_one() -> None:
    def initialize() -> None:
        np.seterr(under="raise")

    def change(*_: object) -> tuple[int, dict[str, object]]:
        seen = decimal.getcontext().prec, dict(np.geterr())
        decimal.getcontext().prec = 4
        np.seterr(all="ignore")
        return seen

    chain = [Task("0", change), *(Task(str(at), change, (str(at - 1),)) for at in range(1, 6))]
    with load_backend("processes", 1, initializer=initialize) as backend:
        values = run(Graph(chain), backend, keep="all").values
    assert [prec for prec, _ in values.values()] == [28] * 6
    assert all(errors == values["0"][1] for _, errors in values.values())
    assert values["0"][1]["under"] == "raise"
