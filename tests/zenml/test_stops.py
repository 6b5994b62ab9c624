"""Runs that are stopped: by a signal, or from elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.exceptions import RunStoppedException
from zenml.steps.heartbeat import StepHeartbeatWorker
from zenml.utils.run_utils import stop_run

from executors.zenml import stops
from tests.zenml.steps import (
    DO,
    EVENTS,
    StepFailed,
    both,
    fail,
    last_run,
    made_of,
    meets,
    on_cleanup,
    on_failure,
    spin,
    statuses,
)

pytestmark = pytest.mark.usefixtures("threaded")

PROGRAM = Path(__file__).with_name("stoppable.py")
WAIT_S = 30.0
BLOCKED = {"": "stopped", "first": "stopped", "second": "stopped"}


@contextmanager
def program(kind: str) -> Iterator[subprocess.Popen[str]]:
    """The program, from when its steps run; `stderr` is what it says then."""
    root = PROGRAM.parent.parent.parent
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), kind],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "steps run" in line:
                break
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("kind", "number", "code"),
    [
        ("python", signal.SIGINT, -signal.SIGINT),
        ("python", signal.SIGTERM, 143),
        ("c", signal.SIGINT, -signal.SIGINT),
    ],
)
def test_a_signal_stops_the_steps_and_runs_the_cleanup_hook(
    kind: str, number: signal.Signals, code: int
) -> None:
    with program(kind) as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == code
    assert "cleaned up" in said
    assert "after ran" not in said
    assert statuses(last_run()) == BLOCKED


def test_a_second_signal_ends_the_program_at_once() -> None:
    with program("c") as process:
        process.send_signal(signal.SIGINT)
        while last_run().status != ExecutionStatus.STOPPING:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == -signal.SIGINT
    assert "cleaned up" not in said
    assert statuses(last_run()) == BLOCKED


@pytest.fixture
def stopper() -> Iterator[list[bool]]:
    """Stops the last run once `first` and `second` run; the value is whether gracefully."""
    graceful: list[bool] = []
    meets("first", "second", "stopper")

    def stops() -> None:
        DO["stopper"]()
        stop_run(last_run(), graceful=graceful[0])

    thread = threading.Thread(target=stops)
    thread.start()
    yield graceful
    thread.join()


@pytest.mark.parametrize("graceful", [True, False], ids=["gracefully", "by force"])
def test_a_run_can_be_stopped_from_elsewhere(graceful: bool, stopper: list[bool]) -> None:
    stopper.append(graceful)
    for name in ("first", "second"):
        DO[name] = both(DO[name], spin)
    with pytest.raises(RunStoppedException):
        made_of(
            {"first": [], "second": [], "after": ["first", "second"]},
            {"first": {"on_failure": on_failure}},
            on_cleanup=on_cleanup,
        )()
    assert statuses(last_run()) == BLOCKED
    assert "after started" not in EVENTS
    assert "cleanup" in EVENTS
    assert ("failure hook StepInterrupted" in EVENTS) == graceful


def test_a_step_that_swallows_the_interrupt_is_interrupted_again(
    stopper: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops, "REPEAT_S", 0.2)
    stopper.append(True)

    def stubborn() -> None:
        try:
            spin()
        except KeyboardInterrupt:
            EVENTS.append("swallowed")
            spin()

    DO["first"] = both(DO["first"], stubborn)
    DO["second"] = both(DO["second"], spin)
    with pytest.raises(RunStoppedException):
        made_of({"first": [], "second": []})()
    assert "swallowed" in EVENTS
    assert statuses(last_run()) == BLOCKED


def test_a_step_that_ends_well_after_the_stop_is_stopped_too(stopper: list[bool]) -> None:
    stopper.append(True)

    def saves() -> None:
        try:
            spin()
        except KeyboardInterrupt:
            EVENTS.append("saved")

    for name in ("first", "second"):
        DO[name] = both(DO[name], saves)
    with pytest.raises(RunStoppedException):
        made_of({"first": [], "second": []})()
    assert EVENTS.count("saved") == 2
    assert statuses(last_run()) == BLOCKED


@pytest.fixture
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """ZenML's heartbeats beat often; what they send after the run does not hit the tests."""
    monkeypatch.setattr(StepHeartbeatWorker, "STEP_HEARTBEAT_INTERVAL_SECONDS", 1.0)
    before = signal.signal(signal.SIGINT, lambda *_: None)
    yield
    time.sleep(0.5)
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("quick_heartbeats")
def test_a_heartbeat_that_finds_its_step_stopping_is_not_ctrl_c() -> None:
    """It interrupts the main thread, where `bad` has just failed and `deaf` is given time."""
    meets("bad", "deaf")
    DO["bad"] = both(DO["bad"], fail)
    DO["deaf"] = both(DO["deaf"], lambda: time.sleep(1.5))  # in C code
    with pytest.raises(StepFailed):
        made_of({"bad": [], "deaf": []}, execution_mode="fail_fast")()
    assert statuses(last_run()) == {"": "failed", "bad": "failed", "deaf": "stopped"}


def test_a_run_whose_process_is_gone_can_be_stopped_by_force() -> None:
    with program("c") as process:
        process.kill()
        process.wait()
    assert last_run().status == ExecutionStatus.RUNNING
    stop_run(last_run(), graceful=False)
    assert statuses(last_run()) == BLOCKED
    assert Client().get_pipeline_run(last_run().id).status.is_finished
