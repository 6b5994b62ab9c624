"""Dynamic pipelines: ZenML's own runner, with our number of workers."""

from __future__ import annotations

import ast
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from zenml import get_step_context
from zenml.exceptions import RunStoppedException
from zenml.utils import source_code_utils
from zenml.utils.run_utils import stop_run

from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    StepFailed,
    fail,
    last_run,
    meets,
    ran,
    statuses,
    stays_in_c,
    use,
)
from tests.executors.zenml.test_steps import logged
from tests.executors.zenml.told import Occupancy, eventually

pytestmark = pytest.mark.usefixtures("flavor")


@pytest.fixture
def dynamic(flavor: str) -> Any:
    from tests.executors.zenml import dynamic

    return dynamic


def test_a_dynamic_pipeline_runs_on_max_workers_threads(dynamic: Any) -> None:
    use(2)
    occupancy = Occupancy(2)
    DO.update({f"s{number}": occupancy.run for number in range(dynamic.SUBMITTED)})
    before = dict(os.environ)
    run = ran(dynamic.submits)
    assert dict(os.environ) == before
    assert statuses(run)[""] == "completed"
    assert len(run.steps) == dynamic.SUBMITTED
    assert occupancy.most == 2


def test_a_dynamic_pipeline_may_depend_on_values_and_has_hooks(dynamic: Any) -> None:
    run = ran(dynamic.decides)
    assert run.steps["decided"].output.load() == 6
    assert EVENTS[0] == "init"
    assert EVENTS[-1] == "cleanup"


def test_a_failing_step_of_a_dynamic_pipeline_raises(dynamic: Any) -> None:
    DO["s0"] = fail
    with pytest.raises(StepFailed):
        dynamic.submits()
    assert last_run().status == "failed"


def test_isolated_steps_run_at_once_in_processes_of_their_own(
    dynamic: Any, caplog: pytest.LogCaptureFixture
) -> None:
    meets("a", "b", "inline")
    run = ran(dynamic.isolates)
    assert statuses(run) == dict.fromkeys(["", "a", "b", "act"], "completed")
    pids = {run.steps[name].output.load() for name in ("a", "b")}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert "inline runtime" not in caplog.text
    for name, other in (("a", "b"), ("b", "a")):
        assert f"{name} speaks" in logged(run.steps[name], "step")
        assert f"{other} speaks" not in logged(run.steps[name], "step")


def test_an_isolated_step_sees_the_state_of_its_run(dynamic: Any) -> None:
    DO["a"] = lambda: EVENTS.append(f"a has {get_step_context().pipeline_state}")
    ran(dynamic.isolates_one)
    assert "a has state" in EVENTS


def test_a_failing_isolated_step_raises(dynamic: Any) -> None:
    DO["a"] = fail
    with pytest.raises(StepFailed):
        dynamic.isolates_one()
    assert statuses(last_run()) == {"": "failed", "a": "failed"}


def test_an_isolated_step_whose_process_is_killed_has_failed(dynamic: Any) -> None:
    DO["a"] = lambda: os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(Exception, match="was killed by SIGKILL"):
        dynamic.isolates_one()
    assert statuses(last_run()) == {"": "failed", "a": "failed"}


@pytest.mark.parametrize("kind", ["python", "c"])
def test_isolated_steps_are_stopped_from_elsewhere(dynamic: Any, kind: str) -> None:
    def never_ends() -> None:
        if kind == "c":
            stays_in_c()
        try:
            for _ in range(6000):
                time.sleep(0.01)
        finally:
            EVENTS.append("finally")

    DO.update(a=never_ends, b=never_ends)

    def stops() -> None:
        eventually(lambda: "a started" in EVENTS and "b started" in EVENTS)
        if kind == "c":
            stop_run(last_run(), graceful=True)
            return
        zenml = str(Path(sys.executable).with_name("zenml"))
        subprocess.run([zenml, "pipeline", "runs", "stop", "--yes", str(last_run().id)], check=True)

    stopper = threading.Thread(target=stops)
    stopper.start()
    with pytest.raises(RunStoppedException):
        dynamic.isolates()
    stopper.join()
    assert statuses(last_run()) == {
        "": "stopped",
        "a": "stopped",
        "b": "stopped",
        "act": "completed",
    }
    assert EVENTS.count("finally") == (2 if kind == "python" else 0)


def test_the_end_of_an_isolated_step_is_not_polled(
    dynamic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZenML would look after 1, 3, 7, 15, 31 s and so on."""
    monkeypatch.setattr("zenml.execution.pipeline.dynamic.outputs.time", None)
    DO["b"] = lambda: time.sleep(1.5)
    assert statuses(ran(dynamic.isolates))["b"] == "completed"


def test_a_pipeline_that_was_stopped_has_not_succeeded(dynamic: Any) -> None:
    DO["nothing"] = lambda: stop_run(last_run(), graceful=True)
    with pytest.raises(RunStoppedException):
        dynamic.does_nothing()
    assert last_run().status == "stopped"


def test_the_source_code_of_steps_is_read_by_one_thread_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import executors.zenml.dynamic  # noqa: F401 - has it so

    reading: list[int] = []
    most: list[int] = []

    def slow(value: object) -> str:
        reading.append(1)
        most.append(len(reading))
        time.sleep(0.005)
        reading.pop()
        return "code"

    monkeypatch.setattr("inspect.getsource", slow)
    threads = [
        threading.Thread(target=source_code_utils.get_source_code, args=(len,)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_steps_are_parsed_by_one_thread_at_a_time() -> None:
    import executors.zenml.dynamic  # noqa: F401 - has it so

    source = "a = [b for b in c]\n" * 2000  # long enough for the garbage collector to come
    other_is_parsing, is_parsed = threading.Event(), threading.Event()
    other = threading.Thread(target=ast.parse, args=(source,))

    def collecting(*_: object) -> None:
        if threading.current_thread() is other:
            other_is_parsing.set()
            is_parsed.wait(10)
        elif not other.is_alive() and not is_parsed.is_set():
            other.start()
            other_is_parsing.wait(0.5)  # for nothing, if it has to wait for this thread

    gc.callbacks.append(collecting)
    try:
        ast.parse(source)  # raised SystemError
        assert other.ident is not None
    finally:
        is_parsed.set()
        gc.callbacks.remove(collecting)
        other.join()
