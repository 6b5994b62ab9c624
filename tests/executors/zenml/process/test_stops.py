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
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event
from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.exceptions import RunStoppedException
from zenml.orchestrators.publish_utils import publish_step_run_status_update
from zenml.steps.heartbeat import StepHeartbeatWorker
from zenml.utils.run_utils import stop_run

from executors.zenml.process import stops
from executors.zenml.process.interrupts import StepInterrupted, raise_in
from executors.zenml.store import updates
from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    StepFailed,
    awaiting,
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
from tests.executors.zenml.told import eventually

pytestmark = pytest.mark.usefixtures("flavor")

MODES = [  # one of them here, because workers take long to start; the others in `nox -s soak`
    "fail_fast",
    pytest.param("stop_on_failure", marks=pytest.mark.soak),
    pytest.param("continue_on_failure", marks=pytest.mark.soak),
]

PROGRAM = Path(__file__).with_name("stoppable.py")
WAIT_S = 30.0
BLOCKED = {"": "stopped", "first": "stopped", "second": "stopped"}


@contextmanager
def program(kind: str) -> Iterator[subprocess.Popen[str]]:
    """The program, from when its steps run; `communicate` gives what it says then."""
    root = PROGRAM.parents[4]
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
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
        pytest.param("c", signal.SIGINT, -signal.SIGINT, marks=pytest.mark.soak),
    ],
)
def test_a_signal_stops_the_steps_and_runs_the_cleanup_hook(
    flavor: str, kind: str, number: signal.Signals, code: int
) -> None:
    with program(kind) as process:
        process.send_signal(number)
        said, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == code
    assert ("abandoned" in said) == (kind == "c" and flavor == "threaded")
    assert ("finally" in said) == (kind == "python")
    assert "cleaned up" in said
    assert "after ran" not in said
    assert statuses(last_run()) == BLOCKED


def test_a_second_signal_ends_the_program_at_once() -> None:
    with program("c") as process:
        process.send_signal(signal.SIGINT)
        while last_run().status != ExecutionStatus.STOPPING:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=WAIT_S)
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
def test_a_run_can_be_stopped_from_elsewhere(
    graceful: bool, stopper: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
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
    assert "abandoned" not in caplog.text
    assert "after started" not in EVENTS
    assert "cleanup" in EVENTS
    assert ("failure hook StepInterrupted" in EVENTS) == graceful


def test_a_step_that_swallows_the_interrupt_is_interrupted_again(
    stopper: list[bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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
    assert "abandoned" not in caplog.text
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
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked, and told that steps live, every 50 ms."""
    monkeypatch.setattr(stops, "POLL_S", 0.05)
    monkeypatch.setattr(StepHeartbeatWorker, "STEP_HEARTBEAT_INTERVAL_SECONDS", 0.05)


@pytest.mark.usefixtures("hasty")
def test_the_store_hears_that_a_step_lives() -> None:
    def lives() -> None:
        beats: list[datetime | None] = []
        for _ in range(2):
            eventually(lambda: last_run().steps["a"].latest_heartbeat not in [None, *beats])
            beats.append(last_run().steps["a"].latest_heartbeat)
        EVENTS.append("heard twice")

    DO["a"] = lives
    run = made_of({"a": []})()
    assert run.steps["a"].spec.enable_heartbeat
    assert "heard twice" in EVENTS
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith("HeartBeatWorker")]


@pytest.mark.usefixtures("hasty")
def test_a_step_that_the_store_wants_stopped_is_stopped() -> None:
    def stops_itself() -> None:
        publish_step_run_status_update(last_run().steps["a"].id, ExecutionStatus.STOPPING)
        spin()

    DO["a"] = stops_itself
    with pytest.raises(RunStoppedException):
        made_of({"a": [], "b": ["a"]})()
    assert statuses(last_run()) == {"": "stopped", "a": "stopped"}


def asks_slowly(by: str) -> None:
    """Asks the store for something, slowly, once it should stop."""

    def is_slow(*_: object) -> None:
        if asking and EVENTS.count("asks") < 3:
            EVENTS.append("asks")
            time.sleep(0.3)
            EVENTS.append("asked")

    asking: list[bool] = []
    event.listen(Client().zen_store.engine, "before_cursor_execute", is_slow)  # type: ignore[attr-defined]
    try:
        if by == "step":
            publish_step_run_status_update(last_run().steps["a"].id, ExecutionStatus.STOPPING)
        else:
            stop_run(last_run(), graceful=True)
        asking.append(True)
        last_run()
        asking.clear()
        spin()
    finally:
        event.remove(Client().zen_store.engine, "before_cursor_execute", is_slow)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("by", ["step", "run"])
def test_a_step_that_talks_to_the_store_is_stopped_after_that(by: str, flavor: str) -> None:
    """Interrupted inside, it would leave the database locked, for all."""
    if flavor == "process":
        DO["a"] = partial(asks_slowly, by)
        with pytest.raises(RunStoppedException):
            made_of({"a": [], "b": ["a"]})()
        assert 0 < EVENTS.count("asks") == EVENTS.count("asked")
        assert statuses(last_run()) == {"": "stopped", "a": "stopped"}
        return
    engine = Client().zen_store.engine  # type: ignore[attr-defined]

    def is_slow(*_: object) -> None:
        if threading.current_thread() in asking and EVENTS.count("asks") < 3:
            EVENTS.append("asks")
            time.sleep(0.3)
            EVENTS.append("asked")

    def asks() -> None:
        if by == "step":
            publish_step_run_status_update(last_run().steps["a"].id, ExecutionStatus.STOPPING)
        else:
            stop_run(last_run(), graceful=True)
        asking.append(threading.current_thread())
        last_run()
        asking.clear()
        spin()

    asking: list[threading.Thread] = []
    DO["a"] = asks
    event.listen(engine, "before_cursor_execute", is_slow)
    try:
        with pytest.raises(RunStoppedException):
            made_of({"a": [], "b": ["a"]})()
    finally:
        event.remove(engine, "before_cursor_execute", is_slow)
    assert 0 < EVENTS.count("asks") == EVENTS.count("asked")
    assert statuses(last_run()) == {"": "stopped", "a": "stopped"}


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_is_stopped_while_the_store_is_slow_is_stopped(
    mode: str, flavor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its step ends by itself before the store was told that the run is stopping."""
    marks = updates.mark_run_stopping

    def mark_slowly(*arguments: Any) -> None:
        time.sleep(0.5)
        marks(*arguments)

    monkeypatch.setattr(updates, "mark_run_stopping", mark_slowly)
    program = os.getpid()
    DO["a"] = both(lambda: os.kill(program, signal.SIGINT), lambda: time.sleep(0.2))
    with pytest.raises(KeyboardInterrupt):
        made_of({"a": [], "b": ["a"]}, execution_mode=mode)()
    assert "a ended" in EVENTS
    # In a thread, what it returned may be half: Ctrl-C kills its child processes, too.
    status = "stopped" if flavor == "threaded" else "completed"
    assert statuses(last_run()) == {"": "stopped", "a": status}


def test_an_asynchronous_step_is_interrupted_while_it_awaits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stops_it() -> None:
        eventually(lambda: "asleep" in EVENTS)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Thread(target=stops_it)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        awaiting()
    timer.join()
    assert "asleep was cancelled" in EVENTS
    assert "abandoned" not in caplog.text
    assert statuses(last_run()) == {"": "stopped", "asleep": "stopped"}


def test_a_store_that_fails_at_the_end_hides_no_exception(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(updates, "publish_stopped", fails)
    DO["a"] = fail
    with pytest.raises(StepFailed):
        made_of({"a": []}, execution_mode="fail_fast")()
    assert "may still show steps of this run as running" in caplog.text


def test_a_run_whose_process_is_gone_can_be_stopped_by_force() -> None:
    with program("c") as process:
        process.kill()
        process.wait()
    assert last_run().status == ExecutionStatus.RUNNING
    stop_run(last_run(), graceful=False)
    assert statuses(last_run()) == BLOCKED
    assert Client().get_pipeline_run(last_run().id).status.is_finished


class InterruptedLock:
    """A lock that is interrupted as soon as it was released for the first time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.interrupts = 0

    def __enter__(self) -> None:
        assert self._lock.acquire(timeout=WAIT_S)

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if not self.interrupts:
            self.interrupts += 1
            raise_in(threading.get_ident(), StepInterrupted)


def test_an_interrupt_after_the_end_of_a_step_does_not_reach_anything_else() -> None:
    watched = stops.Stops(uuid4())
    watched._lock = lock = InterruptedLock()  # type: ignore[assignment]
    with watched.around("quick"):
        pass
    assert lock.interrupts == 1
    assert not watched._steps


LEAVE_AND_TRACE = """
import sys, uuid
from executors.zenml.process.stops import Stops

with Stops(uuid.uuid4()).around("quick"):
    pass
sys.settrace(lambda *_: None)
print((lambda: "traced")())
"""


def test_functions_can_be_traced_after_a_step() -> None:
    program = [sys.executable, "-c", LEAVE_AND_TRACE]
    process = subprocess.run(program, capture_output=True, text=True, timeout=100, check=True)
    assert process.stdout.split() == ["traced"]
