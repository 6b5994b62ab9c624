"""Ctrl-C and SIGTERM, sent to real scripts at awkward moments."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors import ArgumentError, Graph, Observer, Task, load_backend, run
from executors.backends import default_backends
from executors.observers import HOOKS

SCRIPT = textwrap.dedent("""
    import json, os, sys, time
    from executors import Graph, Observer, Task, load_backend, run

    class Told(Observer):
        ended = False
        def run_ended(self, report):
            self.ended = True

    def nap():
        try:
            os.write(1, b"running\\n")
            time.sleep(30)
        except KeyboardInterrupt:
            raise

    graph = Graph([Task(f"t{i}", nap) for i in range(6)])
    told = Told()
    with load_backend(sys.argv[1], 2) as backend:
        print("ready", flush=True)
        try:
            run(graph, backend, observers=[told])
        except (KeyboardInterrupt, SystemExit) as error:
            report = error.report
            print(json.dumps({
                "error": repr(error),
                "reason": report.stop_reason,
                "counts": report.counts,
                "ended": told.ended,
            }), flush=True)
            sys.exit(getattr(error, "code", 130))
""")


def started(script: str, *arguments: str, lines: list[str]) -> subprocess.Popen[str]:
    """The script, from when it has printed these lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in lines] == [f"{line}\n" for line in lines]
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", default_backends())
def test_a_signal_stops_the_run_and_is_raised_with_the_report(
    backend: str, number: signal.Signals
) -> None:
    stopped = 1 if backend == "sequential" else 2
    script = started(SCRIPT, backend, lines=["ready"] + stopped * ["running"])
    script.send_signal(number)
    output, _ = script.communicate(timeout=20)
    said = json.loads(output)
    wanted = ("KeyboardInterrupt()", 130) if number is signal.SIGINT else ("SystemExit(143)", 143)
    assert (said["error"], script.returncode) == wanted
    assert said["reason"] == f"received {number.name}"
    assert said["ended"]
    assert said["counts"] == {"stopped": stopped, "not_started": 6 - stopped}


@pytest.mark.parametrize("backend", default_backends())
def test_a_second_ctrl_c_is_not_waited_for(backend: str) -> None:
    stubborn = SCRIPT.replace("            raise\n", "            time.sleep(30)\n")
    script = started(stubborn, backend, lines=["ready", "running"])
    start_s = time.monotonic()
    script.send_signal(signal.SIGINT)
    time.sleep(0.2)
    script.send_signal(signal.SIGINT)
    script.communicate(timeout=20)
    assert time.monotonic() - start_s < 15
    assert script.returncode != 0


@pytest.mark.parametrize("backend", default_backends())
def test_two_signals_at_once_end_the_program_quietly(backend: str) -> None:
    script = started(SCRIPT, backend, lines=["ready", "running"])
    script.send_signal(signal.SIGINT)
    script.send_signal(signal.SIGTERM)
    _, errors = script.communicate(timeout=30)
    assert script.returncode in (130, 143, -signal.SIGTERM, -signal.SIGINT)
    assert "race condition" not in errors


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_signal_that_another_thread_receives_is_heard(backend: str) -> None:
    """The kernel may choose any thread, and the main thread is not woken by it."""
    script = textwrap.dedent("""
        import signal, sys, threading, time
        from executors import Graph, Observer, Task, load_backend, run

        class Receives(Observer):
            def task_started(self, call):
                time.sleep(0.2)
                signal.pthread_kill(threading.get_ident(), signal.SIGINT)

        with load_backend(sys.argv[1], 1) as backend:
            print("ready", flush=True)
            run(Graph([Task("nap", lambda: time.sleep(25))]), backend, observers=[Receives()])
    """)
    start_s = time.monotonic()
    process = started(script, backend, lines=["ready"])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, errors
    assert time.monotonic() - start_s < 20


def test_ctrl_c_in_a_run_inside_an_action_stops_both_runs() -> None:
    script = textwrap.dedent("""
        import time
        from executors import Graph, Task, load_backend, run
        def inner():
            graph = Graph([Task("i", lambda: print("running", flush=True) or time.sleep(30))])
            run(graph, load_backend("threads", 1))
        def later():
            print("must not start", flush=True)
        graph = Graph([Task("inner", inner, cost_s=9), Task("later", later, cost_s=1)])
        try:
            run(graph, load_backend("sequential"))
        except KeyboardInterrupt as error:
            print(error.report.stop_reason)
    """)
    process = started(script, lines=["running"])
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("received SIGINT\n", "")


def test_a_second_ctrl_c_does_not_wait_for_the_grace_of_threads() -> None:
    script = textwrap.dedent("""
        import time
        from executors import Graph, Task, run
        from executors.backends.threads import Threads
        with Threads(2, grace_s=60) as backend:
            print("ready", flush=True)
            run(Graph([Task("t", lambda: time.sleep(60))]), backend)
    """)
    process = started(script, lines=["ready"])
    for _ in range(2):
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT


def test_a_signal_that_comes_while_the_handler_is_being_installed_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install = signal.signal

    def interrupted(number: int, handler: Any) -> Any:
        before = install(number, handler)
        if number == signal.SIGINT and handler is not signal.default_int_handler:
            signal.raise_signal(number)
        return before

    monkeypatch.setattr(signal, "signal", interrupted)
    with load_backend("sequential") as backend, pytest.raises(KeyboardInterrupt) as caught:
        run(Graph([Task("a", int)]), backend)
    assert caught.value.report.stop_reason == "received SIGINT"  # type: ignore[attr-defined]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("backend", default_backends())
def test_ctrl_c_at_any_moment_ends_the_script_and_its_workers(backend: str, tmp_path: Path) -> None:
    """Short tasks, so that the signal meets the scheduler itself, at random moments."""
    script = textwrap.dedent("""
        import sys
        from executors import Graph, Task, load_backend, run
        tasks = [Task("t0", int)]
        tasks += [Task(f"t{i}", lambda _: None, (f"t{i - 1}",)) for i in range(1, 3000)]
        graph = Graph(tasks)
        with load_backend(sys.argv[1], 2) as backend:
            print("ready", flush=True)
            while True:
                run(graph, backend)
    """)
    moments = random.Random(1)
    for _ in range(4):
        process = started(script, backend, lines=["ready"])
        children = psutil.Process(process.pid).children()
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGINT, errors
        assert errors.rstrip().endswith("KeyboardInterrupt"), errors
        assert not psutil.wait_procs(children, timeout=5)[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"policy": "fail_fast"}, "policy must be a FailurePolicy, such as FAIL_FAST"),
        ({"policy": None}, "policy must be a FailurePolicy"),
        ({"observers": [print]}, "observers must be Observers, not <built-in function print>"),
        ({"observers": [Observer]}, "observers must be Observers, not <class"),
        ({"observers": [Observer(), None]}, "observers must be Observers, not None"),
        ({"observers": Observer()}, "observers must be a list of Observers, not <"),
        ({"observers": "log"}, "observers must be a list of Observers, not 'log'"),
        ({"cancel": 3}, "cancel must be a threading.Event, not 3"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(options: dict[str, Any], says: str) -> None:
    graph = Graph([Task("a", lambda: 1)])
    with pytest.raises(ArgumentError, match=says.replace("(", r"\(")):
        run(graph, load_backend("sequential"), **options)


@pytest.mark.parametrize("backend", ["sequential", "threads"])
def test_a_task_may_be_retried_more_often_than_functions_can_be_nested(backend: str) -> None:
    def fail() -> None:
        raise ValueError

    graph = Graph([Task("fail", fail, retries=1100, retry_backoff=2.0)])
    report = run(graph, load_backend(backend, 2))
    assert len(report.tasks["fail"].attempts) == 1101


def test_an_observer_need_not_be_a_subclass() -> None:
    class Mine:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    for hook in HOOKS:
        setattr(Mine, hook, lambda self, *_, hook=hook: self.seen.append(hook))
    mine: Any = Mine()
    run(Graph([Task("a", lambda: 1)]), load_backend("sequential"), observers={mine})
    assert mine.seen == ["run_started", "task_started", "task_ended", "run_ended"]


def test_errors_about_zenml_are_found_where_they_were() -> None:
    from executors import errors

    pytest.importorskip("zenml")
    from executors.zenml.errors import InstallError, UnsupportedZenML

    assert errors.InstallError is InstallError
    assert errors.UnsupportedZenML is UnsupportedZenML
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = errors.Nothing
