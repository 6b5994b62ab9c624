"""Every backend, random graphs: the outcome is one that the model allows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executors import Backend, load_backend, run
from executors.core.policy import CONTINUE_ON_FAILURE, POLICIES, FailurePolicy
from tests.contract.model import Plan, check, graph_of, plans

# The event loop of a client of dask uses `random`, while an example is drawn.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@settings(max_examples=40)
@given(drawn=plans(), policy=st.sampled_from(sorted(POLICIES.values(), key=lambda it: it.name)))
def test_every_outcome_is_one_that_the_model_allows(
    backend: Backend, drawn: list[Plan], policy: FailurePolicy
) -> None:
    # A thread that was left behind may still write.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        report = run(graph_of(drawn, Path(name)), backend, policy=policy, keep="all")
        check(drawn, report, policy, backend.workers, Path(name))


@settings(max_examples=40)
@given(drawn=plans())
def test_outcomes_equal_those_of_sequential(backend: Backend, drawn: list[Plan]) -> None:
    def outcome(chosen: Backend) -> list[tuple[object, ...]]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            graph = graph_of(drawn, Path(name))
            report = run(graph, chosen, policy=CONTINUE_ON_FAILURE, keep="all")
        return [
            (
                record.name,
                record.status,
                report.values.get(record.name),
                [type(attempt.error) for attempt in record.attempts],
            )
            for record in report.tasks.values()
        ]

    assert outcome(backend) == outcome(load_backend("sequential"))
