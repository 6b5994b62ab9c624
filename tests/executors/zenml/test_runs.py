"""Hooks of a run, and several runs at once in one process."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from zenml import get_step_context
from zenml.client import Client
from zenml.models import PipelineRunResponse

from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    StepFailed,
    fail,
    made_of,
    meets,
    on_cleanup,
    on_init,
    statuses,
    waits_for,
)
from tests.executors.zenml.told import Flag, eventually

pytestmark = pytest.mark.usefixtures("flavor")

HOOKS: dict[str, Any] = {"on_init": on_init, "on_cleanup": on_cleanup}


def says_state(name: str) -> None:
    DO[name] = lambda: EVENTS.append(f"{name} has {get_step_context().pipeline_state}")


def test_hooks_run_once_a_run_and_steps_see_its_state() -> None:
    for name in ("a", "b"):
        says_state(name)
    made_of({"a": [], "b": ["a"]}, **HOOKS)()
    assert [event for event in EVENTS if "started" not in event and "ended" not in event] == [
        "init",
        "a has state",
        "b has state",
        "cleanup",
    ]


def test_the_cleanup_hook_runs_when_a_step_fails() -> None:
    DO["a"] = fail
    with pytest.raises(StepFailed):
        made_of({"a": []}, execution_mode="fail_fast", **HOOKS)()
    assert EVENTS == ["init", "a started", "cleanup"]


def test_an_init_hook_that_fails_starts_nothing() -> None:
    with pytest.raises(Exception, match="init hook"):
        made_of({"a": []}, on_init=fail)()
    assert EVENTS == []
    says_state("b")
    made_of({"b": []})()
    assert "b has None" in EVENTS


def test_two_runs_on_one_stack_run_side_by_side() -> None:
    meets("a", "b")
    runs: dict[str, PipelineRunResponse] = {}
    first = made_of({"a": [], "after_a": ["a"]})
    second = made_of({"b": [], "after_b": ["b"]})
    threads = [
        threading.Thread(target=lambda: runs.update(first=first())),
        threading.Thread(target=lambda: runs.update(second=second())),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses(runs["first"]) == {"": "completed", "a": "completed", "after_a": "completed"}
    assert statuses(runs["second"]) == {"": "completed", "b": "completed", "after_b": "completed"}
    assert runs["first"].orchestrator_run_id != runs["second"].orchestrator_run_id


@pytest.mark.parametrize("second_hooks", [HOOKS, {}], ids=["both", "one"])
def test_runs_with_hooks_take_turns_and_say_so(
    second_hooks: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    second_waits = Flag()
    says_state("b")

    def a() -> None:
        second_waits.wait()
        EVENTS.append(f"a has {get_step_context().pipeline_state}")

    def sees_it_wait() -> None:
        eventually(lambda: "Waiting for" in caplog.text)
        second_waits.set()

    DO["a"] = a
    first = threading.Thread(target=made_of({"a": []}, **HOOKS))
    first.start()
    eventually(lambda: "a started" in EVENTS)
    watcher = threading.Thread(target=sees_it_wait)
    watcher.start()
    made_of({"b": []}, **second_hooks)()
    first.join()
    watcher.join()
    once = ["a started", "a has state", "a ended", "cleanup"]
    if second_hooks:
        assert ["init", *once, "init", "b started", "b has state", "b ended", "cleanup"] == EVENTS
    else:
        assert ["init", *once, "b started", "b has None", "b ended"] == EVENTS


def test_runs_without_hooks_do_not_take_each_others_run_context() -> None:
    has_ended = Flag()

    def a() -> None:
        waits_for(has_ended)()
        EVENTS.append(f"a has {get_step_context().pipeline_state}")

    DO["a"] = a
    first = threading.Thread(target=made_of({"a": []}))
    first.start()
    eventually(lambda: "a started" in EVENTS)
    made_of({"b": []})()
    has_ended.set()
    first.join()
    assert "a has None" in EVENTS


def test_the_active_run_has_an_id_and_nothing_else_has() -> None:
    orchestrator = Client().active_stack.orchestrator
    with pytest.raises(RuntimeError, match="no pipeline is running"):
        orchestrator.get_orchestrator_run_id()
    DO["a"] = lambda: EVENTS.append(Client().active_stack.orchestrator.get_orchestrator_run_id())
    run = made_of({"a": []})()
    assert run.orchestrator_run_id in EVENTS.all()
    assert orchestrator._active_snapshot is None
