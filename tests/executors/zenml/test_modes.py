"""What becomes of the other steps when one fails, in each execution mode; retries."""

from __future__ import annotations

import sys
import time

import pytest
from zenml.client import Client
from zenml.config.retry_config import StepRetryConfig

from executors.zenml.launch.launcher import Launcher
from executors.zenml.launch.threads import ThreadLauncher
from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    StepFailed,
    both,
    fail,
    last_run,
    made_of,
    meets,
    on_failure,
    spin,
    statuses,
    use,
    waits_for,
)
from tests.executors.zenml.told import Counter, Flag, eventually

pytestmark = pytest.mark.usefixtures("flavor")

#   bad ── after_bad
#   slow ── after_slow      (slow ends after bad has failed)
NEEDS: dict[str, list[str]] = {"bad": [], "slow": [], "after_bad": ["bad"], "after_slow": ["slow"]}


def bad_then_slow() -> None:
    """`bad` fails while `slow` runs; `slow` ends once the run knows of the failure."""
    slow_runs = Flag()

    def bad() -> None:
        waits_for(slow_runs)()
        fail()

    def slow() -> None:
        slow_runs.set()
        eventually(lambda: Client().get_pipeline_run(last_run().id).status == "failed")

    DO.update(bad=bad, slow=slow)


def test_fail_fast_stops_what_runs_and_raises_what_the_step_raised() -> None:
    bad_then_slow()
    DO["slow"] = both(DO["slow"], spin)
    with pytest.raises(StepFailed, match="on purpose"):
        made_of(NEEDS, execution_mode="fail_fast")()
    assert statuses(last_run()) == {"": "failed", "bad": "failed", "slow": "stopped"}


def test_stop_on_failure_lets_running_steps_end_and_starts_no_more() -> None:
    bad_then_slow()
    with pytest.raises(RuntimeError, match=r"failure in step\(s\): bad$"):
        made_of(NEEDS, execution_mode="stop_on_failure")()
    assert statuses(last_run()) == {"": "failed", "bad": "failed", "slow": "completed"}


def test_continue_on_failure_runs_all_that_can_run() -> None:
    bad_then_slow()
    with pytest.raises(RuntimeError, match=r"failure in step\(s\): bad$"):
        made_of(NEEDS, execution_mode="continue_on_failure")()
    assert statuses(last_run()) == {
        "": "failed",
        "bad": "failed",
        "slow": "completed",
        "after_slow": "completed",
    }


def test_the_log_tells_failed_stopped_and_unstarted_steps_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meets("bad", "slow")
    DO["bad"] = both(DO["bad"], fail)
    DO["slow"] = both(DO["slow"], spin)
    with pytest.raises(StepFailed):
        made_of(NEEDS, execution_mode="fail_fast")()
    assert (
        "Steps failed: bad; stopped: slow; not started: after_bad, after_slow"
        " (execution mode fail_fast)." in caplog.text
    )


@pytest.mark.parametrize(
    "mode", ["fail_fast", pytest.param("stop_on_failure", marks=pytest.mark.soak)]
)
def test_a_step_that_the_store_refuses_to_start_has_not_failed(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While the failure hook of `bad` runs, the store knows of the failure, the run does not."""
    slow_ends = Flag()
    DO["bad"] = fail
    DO["slow"] = waits_for(slow_ends)

    def failure_hook() -> None:
        slow_ends.set()
        eventually(lambda: "slow ended" in EVENTS)
        time.sleep(0.3)  # time for `after_slow` to be refused

    DO["failure hook"] = failure_hook
    pipeline = made_of(NEEDS, {"bad": {"on_failure": on_failure}}, execution_mode=mode)
    with pytest.raises(StepFailed if mode == "fail_fast" else RuntimeError):
        pipeline()
    assert statuses(last_run())["bad"] == "failed"
    assert "after_slow" not in statuses(last_run())
    assert "Steps failed: bad; not started: after_bad, after_slow" in caplog.text
    assert "after_slow` failed" not in caplog.text


def test_a_slow_failure_hook_does_not_hide_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadLauncher, "grace_s", 0.2)
    slow_ends = Flag()
    DO.update(bad=fail, slow=waits_for(slow_ends))
    DO["failure hook"] = both(slow_ends.set, lambda: time.sleep(1.5))
    with pytest.raises(StepFailed):
        made_of(NEEDS, {"bad": {"on_failure": on_failure}}, execution_mode="fail_fast")()
    assert statuses(last_run()) == {"": "failed", "bad": "failed", "slow": "completed"}


def test_a_failure_that_is_reported_late_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> bool:
        time.sleep(1.5)
        return False

    monkeypatch.setattr(Launcher, "_was_completed", late)
    monkeypatch.setattr(ThreadLauncher, "grace_s", 0.2)
    slow_ends = Flag()
    DO.update(bad=fail, slow=waits_for(slow_ends))
    DO["failure hook"] = slow_ends.set
    with pytest.raises(StepFailed):
        made_of(NEEDS, {"bad": {"on_failure": on_failure}}, execution_mode="fail_fast")()
    assert statuses(last_run()) == {"": "failed", "bad": "failed", "slow": "completed"}


def test_a_step_that_calls_sys_exit_has_failed() -> None:
    DO["bad"] = lambda: sys.exit(3)
    with pytest.raises(RuntimeError, match=r"failure in step\(s\): bad$"):
        made_of({"bad": [], "other": []}, execution_mode="continue_on_failure")()
    assert statuses(last_run()) == {"": "failed", "bad": "failed", "other": "completed"}
    with pytest.raises(SystemExit) as exit_:
        made_of({"bad": []}, execution_mode="fail_fast")()
    assert exit_.value.code == 3


def is_retrying() -> bool:
    return statuses(last_run()).get("flaky") == "retrying"


@pytest.mark.parametrize("mode", ["fail_fast", "stop_on_failure", "continue_on_failure"])
def test_a_step_that_fails_before_the_store_knows_of_it_has_failed(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from executors.zenml.launch.processes import ProcessLauncher
    from executors.zenml.launch.threads import ThreadLauncher

    for launcher in (ThreadLauncher, ProcessLauncher):
        monkeypatch.setattr(launcher, "_launch", lambda *_: fail())
    retries = {"a": {"retry": StepRetryConfig(max_retries=1)}}
    with pytest.raises(StepFailed if mode == "fail_fast" else RuntimeError):
        made_of({"a": [], "b": ["a"]}, retries, execution_mode=mode)()
    assert statuses(last_run()) == {"": "failed", "a": "failed"}
    attempts = Client().list_run_steps(pipeline_run_id=last_run().id, sort_by="asc:version").items
    assert [attempt.status for attempt in attempts] == ["retried", "failed"]
    information = last_run().steps["a"].exception_info
    assert information is not None
    assert information.message == "on purpose"


def flaky(failures: int) -> None:
    attempts = Counter()

    def act() -> None:
        if attempts() <= failures:
            fail()

    DO["flaky"] = act


def test_a_failed_step_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    flaky(2)
    run = made_of({"flaky": []}, {"flaky": {"retry": StepRetryConfig(max_retries=2)}})()
    assert statuses(run) == {"": "completed", "flaky": "completed"}
    attempts = Client().list_run_steps(pipeline_run_id=run.id, sort_by="asc:version").items
    assert [attempt.status for attempt in attempts] == ["retried", "retried", "completed"]
    assert (
        "Step `flaky` failed (attempt 1 of 3): StepFailed: on purpose. The next attempt comes"
        " after 0 s." in caplog.text
    )


def test_a_step_that_fails_too_often_has_failed() -> None:
    flaky(2)
    with pytest.raises(StepFailed):
        made_of(
            {"flaky": []},
            {"flaky": {"retry": StepRetryConfig(max_retries=1)}},
            execution_mode="fail_fast",
        )()
    assert statuses(last_run()) == {"": "failed", "flaky": "failed"}
    assert EVENTS == ["flaky started", "flaky started"]


def test_waiting_for_a_retry_holds_no_worker(flavor: str) -> None:
    use(1)
    flaky(1)
    retry = StepRetryConfig(max_retries=1, delay=1)
    name = f"without a history on {flavor}"  # which might change the order
    made_of({"flaky": [], "other": []}, {"flaky": {"retry": retry}}, name=name)()
    assert EVENTS == [
        "flaky started",
        "other started",
        "other ended",
        "flaky started",
        "flaky ended",
    ]


def test_a_retry_that_will_not_come_leaves_the_step_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flaky(1)
    DO["bad"] = both(lambda: eventually(is_retrying), fail)
    with pytest.raises(StepFailed):
        made_of(
            {"flaky": [], "bad": []},
            {"flaky": {"retry": StepRetryConfig(max_retries=1, delay=60)}},
            execution_mode="fail_fast",
        )()
    assert statuses(last_run()) == {"": "failed", "flaky": "stopped", "bad": "failed"}
    assert "Steps failed: bad; stopped: flaky (execution mode fail_fast)." in caplog.text


def test_a_retry_that_the_store_refuses_is_not_what_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flaky(1)
    bad_runs = Flag()
    DO["flaky"] = both(bad_runs.wait, DO["flaky"])
    DO["bad"] = both(bad_runs.set, lambda: eventually(is_retrying), fail)
    DO["failure hook"] = lambda: time.sleep(4.0)  # the retry comes meanwhile
    with pytest.raises(StepFailed):
        made_of(
            {"flaky": [], "bad": []},
            {
                "flaky": {"retry": StepRetryConfig(max_retries=1, delay=3)},
                "bad": {"on_failure": on_failure},
            },
            execution_mode="fail_fast",
        )()
    assert statuses(last_run()) == {"": "failed", "flaky": "stopped", "bad": "failed"}
    assert "Steps failed: bad; stopped: flaky (execution mode fail_fast)." in caplog.text
