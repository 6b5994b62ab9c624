"""Environment variables and secrets: never another step's, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from zenml.client import Client
from zenml.exceptions import RunStoppedException
from zenml.utils.run_utils import stop_run

from executors.zenml.launch.threads import ThreadLauncher
from executors.zenml.process.environments import applied
from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    StepFailed,
    fail,
    last_run,
    made_of,
    meets,
    statuses,
    use,
    waits_for,
)
from tests.executors.zenml.told import Flag, eventually

pytestmark = pytest.mark.usefixtures("threaded")


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(threaded: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FROM_OUTSIDE", "outside")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    before = dict(os.environ)
    yield
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert dict(os.environ) == before


@pytest.fixture
def secret() -> Iterator[str]:
    client = Client()
    client.create_secret("tested", {"PASSWORD": "hidden"})
    yield "tested"
    client.delete_secret("tested")


class Reader:
    """Steps that look at their variables several times while others may run."""

    def __init__(self, *variables: str) -> None:
        self.seen: dict[str, set[tuple[str | None, ...]]] = {}
        self._variables = variables

    def reads(self, name: str) -> None:
        def read() -> None:
            for _ in range(5):
                values = tuple(os.environ.get(variable) for variable in self._variables)
                self.seen.setdefault(name, set()).add(values)
                time.sleep(0.02)

        DO[name] = read


def test_steps_see_their_own_variables_and_secrets_only(secret: str) -> None:
    reader = Reader("WHICH", "PASSWORD", "FROM_OUTSIDE")
    for name in ("a", "b", "plain", "trusted"):
        reader.reads(name)
    made_of(
        {"a": [], "b": [], "plain": [], "trusted": []},
        {
            "a": {"environment": {"WHICH": "a"}},
            "b": {"environment": {"WHICH": "b", "FROM_OUTSIDE": "inside"}},
            "trusted": {"secrets": [secret]},
        },
    )()
    assert reader.seen == {
        "a": {("a", None, "outside")},
        "b": {("b", None, "inside")},
        "plain": {(None, None, "outside")},
        "trusted": {(None, "hidden", "outside")},
    }


def test_child_processes_of_a_step_see_its_variables() -> None:
    def asks() -> None:
        show = "import os; print(os.environ.get('WHICH'))"
        done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True)
        EVENTS.append(done.stdout.strip())

    DO["a"] = asks
    made_of({"a": []}, {"a": {"environment": {"WHICH": "a"}}})()
    assert "a" in EVENTS


def test_steps_with_equal_environments_run_side_by_side(secret: str) -> None:
    meets("a", "b")
    same = {"environment": {"WHICH": "both"}, "secrets": [secret]}
    made_of({"a": [], "b": []}, {"a": same, "b": same})()


def test_a_step_that_waits_for_its_environment_holds_no_worker() -> None:
    use(2)
    meets("a", "c")  # which ends only if b, which is next, does not take the other worker
    DO["start"] = lambda: eventually(lambda: "a started" in EVENTS)
    x, y = {"environment": {"WHICH": "x"}}, {"environment": {"WHICH": "y"}}
    made_of(
        {"a": [], "start": [], "b": ["start"], "c": ["start"]},
        {"a": x, "start": x, "b": y, "c": x},
        name="without a history",
    )()


def test_the_log_says_which_steps_are_kept_apart_and_hides_the_values(
    secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    made_of(
        {"a": [], "b": [], "c": []},
        {"a": {"environment": {"WHICH": "value-of-a"}}, "b": {"secrets": [secret]}},
    )()
    assert "PASSWORD, WHICH differ between [a] and [b] and [c]" in caplog.text
    assert "value-of-a" not in caplog.text
    assert "hidden" not in caplog.text


def test_a_step_that_changes_its_variables_leaves_none_of_them() -> None:
    def changes() -> None:
        os.environ["WHICH"] = "changed"
        del os.environ["FROM_OUTSIDE"]

    DO["a"] = changes
    made_of({"a": []}, {"a": {"environment": {"WHICH": "a", "FROM_OUTSIDE": "inside"}}})()


def test_a_step_that_fails_leaves_none_of_its_variables() -> None:
    DO["a"] = fail
    with pytest.raises(StepFailed):
        made_of(
            {"a": [], "b": []},
            {"a": {"environment": {"WHICH": "a"}}, "b": {"environment": {"WHICH": "b"}}},
            execution_mode="fail_fast",
        )()


def test_a_step_that_is_given_up_leaves_none_of_its_variables(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ThreadLauncher, "grace_s", 0.2)
    ends, has_ended, runs = threading.Event(), Flag(), Flag()

    def cannot_be_stopped() -> None:
        runs.set()
        try:
            ends.wait(20)  # blocks in C code
        finally:
            has_ended.set()

    def bad() -> None:
        waits_for(runs)()
        fail()

    DO.update(bad=bad, deaf=cannot_be_stopped)
    same = {"environment": {"WHICH": "both"}}
    with pytest.raises(StepFailed):
        made_of({"bad": [], "deaf": []}, {"bad": same, "deaf": same}, execution_mode="fail_fast")()
    assert "WHICH" not in os.environ
    assert "Step(s) deaf did not end after the stop and were abandoned" in caplog.text
    ends.set()
    waits_for(has_ended)()


def test_a_run_can_be_stopped_while_it_waits_for_another_ones_environment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends = Flag()
    DO["a"] = waits_for(ends)
    first = threading.Thread(target=made_of({"a": []}, environment={"WHICH": "a"}))
    first.start()
    eventually(lambda: "a started" in EVENTS)

    def stops() -> None:
        eventually(lambda: "Step `b` waits for steps of another run" in caplog.text)
        stop_run(last_run(), graceful=True)

    stopper = threading.Thread(target=stops)
    stopper.start()
    with pytest.raises(RunStoppedException):
        made_of({"b": []}, environment={"WHICH": "b"})()
    stopper.join()
    assert statuses(last_run()) == {"": "stopped"}
    assert "Steps not started: b (" in caplog.text
    assert "a ended" not in EVENTS
    ends.set()
    first.join()
    assert "a ended" in EVENTS


def test_a_variable_that_cannot_be_set_leaves_no_other_behind() -> None:
    with pytest.raises(ValueError, match="null"):
        applied({"WHICH": "set", "WRONG": "a\0b"}, on_wait=lambda: None)


def test_two_runs_with_different_environments_do_not_mix(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = Reader("WHICH")
    names = {which: [f"{which}{number}" for number in range(4)] for which in ("x", "y")}
    pipelines = []
    for which, steps in names.items():
        for name in steps:
            reader.reads(name)
        pipelines.append(made_of({name: [] for name in steps}, environment={"WHICH": which}))
    threads = [threading.Thread(target=pipeline) for pipeline in pipelines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.seen == {name: {(which,)} for which, steps in names.items() for name in steps}
