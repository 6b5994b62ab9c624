"""Step resources as workers, the order of steps, and the summary of a run."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from zenml.config import ResourceSettings

from executors import FAIL_FAST, Graph, Task, run
from executors.backends import load_backend
from executors.zenml.outcome import Outcome
from executors.zenml.store import history
from tests.executors.zenml.steps import DO, EVENTS, StepFailed, fail, last_run, made_of, meets, use

pytestmark = pytest.mark.usefixtures("flavor")


def needs(**resources: Any) -> dict[str, Any]:
    return {"settings": {"resources": ResourceSettings(**resources)}}


@pytest.mark.parametrize("cpu_count", [1.5, 2, 100], ids=["rounded up", "all", "more than all"])
def test_a_step_counts_as_many_workers_as_it_needs_cpus(cpu_count: float) -> None:
    use(2)
    for name in ("a", "b"):
        DO[name] = lambda: time.sleep(0.3)  # time for the other one to start, if it could
    made_of({"a": [], "b": []}, {"a": needs(cpu_count=cpu_count)})()
    assert [event.split()[1] for event in EVENTS] == ["started", "ended"] * 2


def test_a_step_that_needs_less_than_a_cpu_counts_one() -> None:
    use(2)
    meets("a", "b")
    made_of({"a": [], "b": []}, dict.fromkeys(["a", "b"], needs(cpu_count=0.5)))()


def test_resources_can_be_turned_off(caplog: pytest.LogCaptureFixture) -> None:
    use(2, step_resources=False)
    meets("a", "b")
    made_of({"a": [], "b": []}, {"a": needs(cpu_count=2, memory="1GB")})()
    assert "are ignored" not in caplog.text


def test_memory_and_gpus_are_ignored_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    made_of(
        {"a": [], "b": [], "c": []},
        {"a": needs(memory="1GB"), "b": needs(gpu_count=1), "c": needs(cpu_count=1)},
    )()
    assert caplog.text.count("are ignored") == 1
    assert "memory and GPU settings of step(s) a, b are ignored" in caplog.text


def test_the_step_with_the_longest_path_starts_first() -> None:
    use(1)
    made_of({"short": [], "a": [], "b": ["a"]})()
    assert EVENTS[0] == "a started"


def test_past_runs_tell_which_step_takes_long(flavor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(1)
    pipeline = made_of({"a": [], "b": []}, name=f"with a history of its own on {flavor}")
    DO["b"] = lambda: time.sleep(0.5)
    pipeline()
    assert EVENTS[0] == "a started"
    seconds = history.step_seconds(last_run().pipeline.id)  # type: ignore[union-attr]
    assert set(seconds) == {"a", "b"}
    assert seconds["b"] > 0.5
    EVENTS.clear()
    pipeline()
    assert EVENTS[0] == "b started"

    def fails(*_: object, **__: object) -> None:
        raise OSError("no store")

    monkeypatch.setattr(history, "Client", fails)
    EVENTS.clear()
    pipeline()
    assert EVENTS[0] == "a started"


def test_the_summary_is_stored_with_the_run(flavor: str, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        DO[name] = lambda: time.sleep(0.3)
    run = made_of({"a": [], "b": [], "c": ["a", "b"]})()
    stored = run.run_metadata[f"local_{flavor}"]
    assert isinstance(stored, dict)
    assert stored["max_workers"] == 8
    assert stored["steps"] == 3
    assert 0.3 < stored["critical_path_s"] <= stored["wall_time_s"]
    assert stored["sum_of_step_times_s"] > 0.6
    assert stored["speedup"] == pytest.approx(
        stored["sum_of_step_times_s"] / stored["wall_time_s"], rel=0.01
    )
    assert re.search(r"3 steps in [\d.]+ s on 8 workers; step times add up to", caplog.text)


def test_a_failed_run_has_a_summary_too(flavor: str) -> None:
    DO["a"] = fail
    with pytest.raises(StepFailed):
        made_of({"a": [], "b": ["a"]}, execution_mode="fail_fast")()
    stored = last_run().run_metadata[f"local_{flavor}"]
    assert isinstance(stored, dict)
    assert stored["steps"] == 1


def test_the_summary_of_a_known_run() -> None:
    graph = Graph([Task("a", int), Task("b", int), Task("c", lambda *_: 0, needs=("a", "b"))])
    report = run(graph, load_backend("sequential", 1))
    outcome = Outcome.of(report, graph, FAIL_FAST, {"a": 4.0, "b": 3.0, "c": 1.0})
    known = Outcome(**{**vars(outcome), "wall_s": 6.25, "max_workers": 2})
    assert known.line() == (
        "3 steps in 6.25 s on 2 workers; step times add up to 8.00 s (speedup at most 1.28);"
        " the critical path took 80 % of the wall time."
    )
    assert known.losses() is None
