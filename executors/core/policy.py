"""What a failure does to the rest of a run, as values: no code checks a policy's name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What happens when a task has failed for good.

    Attributes:
        name: equals the value of ZenML's `ExecutionMode`.
        starts_unrelated: tasks that do not need the failed one still start.
        stops_running: tasks that are running are stopped.
    """

    name: str
    starts_unrelated: bool
    stops_running: bool


FAIL_FAST = FailurePolicy("fail_fast", starts_unrelated=False, stops_running=True)
STOP_ON_FAILURE = FailurePolicy("stop_on_failure", starts_unrelated=False, stops_running=False)
CONTINUE_ON_FAILURE = FailurePolicy(
    "continue_on_failure", starts_unrelated=True, stops_running=False
)

POLICIES = {policy.name: policy for policy in (FAIL_FAST, STOP_ON_FAILURE, CONTINUE_ON_FAILURE)}
