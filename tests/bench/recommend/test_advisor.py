"""Predicting, running and picking on a made-up machine."""

from __future__ import annotations

from functools import partial
from random import Random
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

import bench.recommend.advisor
from bench.machine.noise import Verdict
from bench.predict.prediction import TaskModel
from bench.recommend.advisor import Advisor, blank_for
from executors import Graph, RunFailed, Task, load_backend
from executors.contention import Demand, Machine
from tests.bench.recommend.machines import COSTS, CPUS, MadeUp, recommended

GRAPH = Graph(Task(f"t{index}", print, cost_s=1.0) for index in range(8))


@pytest.fixture(autouse=True)
def _threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """On free-threaded builds, too: the made-up machine has an interpreter lock."""
    monkeypatch.setattr("bench.predict.prediction.has_interpreter_lock", lambda: True)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> float:
    """The time at which measuring begins."""
    began_s = monotonic()
    monkeypatch.setattr(bench.recommend.advisor, "judge_machine", lambda *_: Verdict())
    counters = SimpleNamespace(since=lambda *_: None, at_s=began_s)
    monkeypatch.setattr(bench.recommend.advisor, "SystemCounters", lambda: counters)
    return began_s


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("shape", "kernel", "pick", "because"),
    [
        ("fan-in:width=32", "python-cpu:20ms", ("processes", 4), "hold the interpreter lock"),
        (
            "fan-in:width=32",
            "native-cpu:20ms",
            ("threads", 4),
            "4 cores are 3.80 times as",
        ),
        ("fan-in:width=32", "sleep:20ms", ("threads", 32), "wait for 100 % of their time"),
        ("diamond", "sleep:20ms", ("threads", 2), "The critical path, 60.0 ms, is nearly reached"),
        ("chain", "sleep:20ms", ("sequential", 1), "Each task waits for the one before"),
        ("chain", "native-cpu:20ms", ("sequential", 1), "Each task waits for the one before"),
        ("fan-in:width=32", "noop", ("sequential", 1), "The tasks are too short (0 s on"),
        ("fan-in:width=32", "native-cpu:2us", ("sequential", 1), "too short (2.00 us on average)"),
    ],
)
def test_the_pick_and_its_reason(
    shape: str, kernel: str, pick: tuple[str, int], because: str
) -> None:
    advice = recommended(shape, kernel)
    assert advice.pick is not None
    assert (advice.pick.backend, advice.pick.workers) == pick
    assert because in advice.reason


@pytest.mark.usefixtures("quiet")
def test_only_candidates_are_run() -> None:
    """Threads that take turns are no candidate, nor is anything that surely gains."""
    profiler = MadeUp(processes=0.17)
    advice = recommended("fan-in:width=32", "python-cpu:20ms", True, profiler, budget_s=0.0)
    assert set(profiler.ran) == {"processes 4"}
    assert advice.pick is not None
    assert advice.pick.wall_s == (0.17,) * 5
    assert advice.regret is None


@pytest.mark.usefixtures("quiet")
def test_sequential_runs_for_the_speedup_where_it_takes_little_time() -> None:
    profiler = MadeUp(processes=0.17, sequential=0.65)
    advice = recommended("fan-in:width=32", "python-cpu:20ms", True, profiler)
    assert profiler.ran == ["processes 4"] * 6 + ["sequential 1"] * 6
    assert advice.answer is not None
    assert advice.answer.speedup is not None
    assert advice.answer.speedup.low == pytest.approx(0.65 / 0.17)


@pytest.mark.usefixtures("quiet")
def test_what_runs_much_longer_than_predicted_is_compared_with_the_next_best() -> None:
    """As with large values, which have to be copied: nothing predicted that."""
    advice = recommended(
        "fan-in:width=32", "python-cpu:20ms", True, processes=10.0, threads=0.7, sequential=0.65
    )
    assert advice.pick is advice.sequential
    assert advice.pick.wall_s == (0.65,) * 5


@pytest.mark.usefixtures("quiet")
def test_a_backend_that_the_graph_fails_on_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_s(self: MadeUp, graph: Graph, backend: str, workers: int) -> float:
        if backend == "processes":
            raise RunFailed("the run failed: task 'a' cannot be pickled")
        return {"sequential": 0.65}.get(backend, 0.7)

    monkeypatch.setattr(MadeUp, "run_s", run_s)
    advice = recommended("fan-in:width=32", "python-cpu:20ms", True)
    assert advice.pick is advice.sequential
    assert {one.backend for one in advice.candidates} == {"sequential", "threads"}
    assert advice.left_out == ("processes: the run failed: task 'a' cannot be pickled",)


@pytest.mark.usefixtures("quiet")
def test_workers_on_which_a_task_would_time_out_are_left_out() -> None:
    """Four tasks that hold the lock take 4 s candidate side by side, and may take 2 s."""
    graph = Graph(Task(f"t{index}", print, cost_s=1.0, timeout_s=2.0) for index in range(8))
    machines = dict.fromkeys(COSTS, Machine.ideal(CPUS)) | {
        "threads": Machine(Machine.ideal(CPUS).cores, (1.0, 1.0))
    }
    model = TaskModel(lambda task: Demand(1.0, 1.0, 1.0), machines)
    advice = Advisor(MadeUp()).recommend(blank_for("x"), graph, [model], [4], verify=False)
    assert advice.pick is not None
    assert advice.pick.backend == "processes"
    assert advice.left_out == ("On threads with 4 workers a task would overrun its timeout_s.",)


@pytest.mark.usefixtures("quiet")
def test_of_two_that_are_equal_the_one_that_starts_faster_is_picked() -> None:
    advice = recommended("fan-in:width=32", "native-cpu:20ms", True, threads=0.172, processes=0.17)
    assert advice.pick is not None
    assert advice.pick.backend == "threads"
    assert advice.runner_up is not None
    assert advice.runner_up.backend == "processes"
    assert advice.regret == pytest.approx(0.172 / 0.17 - 1)
    advice = recommended("fan-in:width=32", "native-cpu:20ms", True, threads=0.2, processes=0.17)
    assert advice.pick is not None
    assert advice.pick.backend == "processes"


@pytest.mark.usefixtures("quiet")
def test_workers_that_do_not_fit_into_the_memory_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=300e6))
    advice = recommended("fan-in:width=32", "python-cpu:20ms")
    workers = [one.workers for one in advice.candidates if one.backend == "processes"]
    assert workers == [1, 2, 4]  # 8 need 400 MB, more than 0.8 of what is free
    assert [one.workers for one in advice.candidates if one.backend == "threads"][-1] == 8


@pytest.mark.usefixtures("quiet")
def test_a_start_that_costs_more_than_a_run_gains_is_mentioned() -> None:
    """0.2 s for the processes; 4 tasks gain 60 ms, 64 nearly a second."""
    short = recommended("fan-in:width=4", "python-cpu:20ms")
    assert "Starting the workers takes 200 ms, once: more than a single run saves" in short.reason
    assert "Starting" not in recommended("fan-in:width=64", "python-cpu:20ms").reason


@pytest.mark.parametrize(("spent_s", "blocks"), [(2.0, 13), (20.0, 5)])
def test_more_blocks_are_run_where_the_first_ones_do_not_tell(
    monkeypatch: pytest.MonkeyPatch, quiet: float, spent_s: float, blocks: int
) -> None:
    """The first five blocks disagree wildly, those after them do not.

    A quarter of a sweep is about 12 s here: after more than that, a sweep answers as well. Then the
    sequential backend is run, to be able to say how much faster the others surely are.
    """
    began_s = quiet
    walls = {"threads": [0.2, 0.4, 0.2, 0.4, 0.2], "processes": [0.4, 0.2, 0.4, 0.2, 0.4]}
    runs: list[str] = []

    def run_s(self: MadeUp, graph: Graph, backend: str, workers: int) -> float:
        runs.append(backend)
        number = runs.count(backend)
        if number == 1:  # it warms up
            return 9.0
        if backend == "sequential":
            return 0.65
        return walls[backend][number - 2] if number < 7 else {"threads": 0.3}.get(backend, 0.33)

    monkeypatch.setattr(MadeUp, "run_s", run_s)
    monkeypatch.setattr(bench.recommend.advisor, "monotonic", lambda: began_s + spent_s)
    advice = recommended("fan-in:width=32", "native-cpu:20ms", True)
    tried = {one.backend: one.blocks for one in advice.candidates if one.wall_s}
    assert tried["threads"] == tried["processes"] == tuple(range(blocks))
    if blocks == 5:
        assert advice.pick is None
        assert tried["sequential"] == tuple(range(5, 10))
        assert "4 workers run it at least 1.54 times as fast as sequential" in advice.reason
    else:
        assert advice.pick is not None
        assert tried["sequential"] == tuple(range(13, 18))


@pytest.mark.usefixtures("quiet")
def test_a_budget_is_spent_on_what_is_not_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two backends that differ at random: no number of runs decides, and the budget ends it."""
    chance = Random(1)
    monkeypatch.setattr(MadeUp, "run_s", lambda *_: chance.uniform(0.2, 0.4))
    profiler = MadeUp()
    runs = {}
    for budget_s in (0.0, 1e9):
        advice = recommended(
            "fan-in:width=32", "native-cpu:20ms", True, profiler, budget_s=budget_s
        )
        runs[budget_s] = max(len(one.wall_s) for one in advice.candidates)
    assert runs[0.0] == 5
    assert runs[1e9] > 5


def test_simulating_is_what_recommend_predicts_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictor is no second scheduler: without the simulated backend it has nothing."""
    runs = []

    def noted(name: str, *arguments: Any, **options: Any) -> Any:
        runs.append(name)
        return load_backend(name, *arguments, **options)

    monkeypatch.setattr("bench.predict.prediction.load_backend", noted)
    models = [TaskModel(partial(lambda task: Demand(1.0)), dict.fromkeys(COSTS, Machine.ideal(4)))]
    candidates, _ = Advisor(MadeUp()).predict(GRAPH, models, [4])
    assert set(runs) == {"simulated"}
    assert [one.seconds for one in candidates] == pytest.approx([8.0, 2.0, 2.0], rel=0.01)
