"""Recommendations on made-up machines, where the right answer is known, and small real ones."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import bench.recommend.advisor
from bench import BenchError
from bench.analysis.estimates import Estimate
from bench.cli import main
from bench.machine.noise import NOISY, UNUSABLE, Reason, Verdict
from bench.measure.prepared import graph_of
from bench.predict.prediction import (
    Kind,
    Round,
    View,
    _task_s,
    bisected,
    kind_of_work,
    lock_of,
    speed_of,
)
from bench.predict.profiler import Profiler
from bench.recommend.advisor import (
    Advisor,
    default_counts,
    recommend,
)
from bench.recommend.decision import _pairs, candidates_of, decide
from bench.recommend.recommendation import Candidate, Recommendation
from bench.workloads.kernels import SizedKernel, Work, sized
from bench.workloads.shapes import sized as sized_shape
from executors import Graph, RunFailed, Task, load_backend, run, usable_cpus
from executors.backends.simulated import Overheads, Simulated
from executors.contention import Demand, Machine
from tests.bench.machine.test_noise import busy_processes
from tests.bench.results.written import TYPICAL, write

CPUS = 4
COSTS = {
    "sequential": Overheads(1e-4, 2e-6, 0.0),
    "processes": Overheads(5e-4, 1e-5, 2e-4),
    "threads": Overheads(2e-4, 5e-6, 5e-5),
}
KINDS = {  # of tasks as long as they should be
    "python-cpu": Kind(1.0, 1.0, 1.0, (1.0, 1.95, 2.9, 3.8), (1.0, 0.95)),
    "native-cpu": Kind(1.0, 1.0, 0.0, (1.0, 1.95, 2.9, 3.8), (1.0, 1.0)),
    "sleep": Kind(1.0, 0.0, 0.0, (1.0, 2.0, 3.0, 4.0), (1.0, 1.0)),
}


class MadeUp(Profiler):
    """Of a machine of 4 CPUs that is known; runs take what the simulation says, or `walls`."""

    def __init__(self, **walls: float) -> None:
        self.cpus = CPUS
        self.names = ["processes", "threads"]
        self.overheads = dict(COSTS)
        self.worker_bytes = {"sequential": 0.0, "processes": 50e6, "threads": 0.0}
        self._kinds: dict[tuple[str, float], list[Kind]] = {}
        self.walls = walls
        self.ran: list[str] = []

    def views(self, kernel: SizedKernel, work: Work) -> list[View]:
        if kernel.length_s:
            made = KINDS[kernel.kernel.name]
            kinds = [replace(made, factor=factor) for factor in (1.0, 0.98, 1.02)]
            self._kinds[kernel.kernel.name, kernel.length_s] = kinds
        return super().views(kernel, work)

    def pool(self, backend: str, workers: int) -> Any:
        return SimpleNamespace(start_s={"processes": 0.2}.get(backend, 0.0), backend=backend)

    def run_s(self, graph: Graph, backend: str, workers: int) -> float:
        self.ran.append(f"{backend} {workers}")
        return self.walls.get(backend, 1.0)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> float:
    """The time at which measuring begins."""
    began_s = monotonic()
    monkeypatch.setattr(bench.recommend.advisor, "judge_machine", lambda *_: Verdict())
    counters = SimpleNamespace(since=lambda *_: None, at_s=began_s)
    monkeypatch.setattr(bench.recommend.advisor, "Counters", lambda: counters)
    return began_s


def recommended(
    shape: str,
    kernel: str,
    verify: bool = False,
    profiler: MadeUp | None = None,
    **walls: float,
) -> Recommendation:
    wanted = sized(kernel)
    work = Work(wanted.kernel.name, 1)
    graph = graph_of(sized_shape(shape), wanted, work)
    profiler = profiler or MadeUp(**walls)
    views = profiler.views(wanted, work)
    return Advisor(profiler).recommend(f"{shape}, {kernel}", graph, views, None, verify)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("shape", "kernel", "pick", "because"),
    [
        ("fan-in:width=32", "python-cpu:20ms", ("processes", 4), "hold the interpreter lock"),
        ("fan-in:width=32", "native-cpu:20ms", ("threads", 4), "4 cores are 3.80 times one"),
        ("fan-in:width=32", "sleep:20ms", ("threads", 32), "wait for 100 % of their time"),
        ("diamond", "sleep:20ms", ("threads", 2), "The critical path, 60 ms, is nearly reached"),
        ("chain", "sleep:20ms", ("sequential", 1), "Each task waits for the one before"),
        ("chain", "native-cpu:20ms", ("sequential", 1), "Each task waits for the one before"),
        ("fan-in:width=32", "noop", ("sequential", 1), "The tasks are too short (no time"),
        ("fan-in:width=32", "native-cpu:2us", ("sequential", 1), "too short (2 us on average)"),
    ],
)
def test_the_pick_and_its_reason(
    shape: str, kernel: str, pick: tuple[str, int], because: str
) -> None:
    found = recommended(shape, kernel)
    assert found.pick is not None
    assert (found.pick.backend, found.pick.workers) == pick
    assert because in found.reason


@pytest.mark.usefixtures("quiet")
def test_only_candidates_are_run() -> None:
    """Threads that take turns are no candidate, nor is anything that surely gains."""
    profiler = MadeUp(processes=0.17)
    found = recommended("fan-in:width=32", "python-cpu:20ms", True, profiler)
    assert set(profiler.ran) == {"processes 4"}
    assert found.pick is not None
    assert found.pick.wall_s == (0.17,) * 5
    assert found.regret is None


@pytest.mark.usefixtures("quiet")
def test_what_runs_much_longer_than_predicted_is_compared_with_the_next_best() -> None:
    """As with large values, which have to be copied: nothing predicted that."""
    found = recommended(
        "fan-in:width=32", "python-cpu:20ms", True, processes=10.0, threads=0.7, sequential=0.65
    )
    assert found.pick is found.sequential
    assert found.pick.wall_s == (0.65,) * 5


@pytest.mark.usefixtures("quiet")
def test_a_backend_that_the_graph_fails_on_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_s(self: MadeUp, graph: Graph, backend: str, workers: int) -> float:
        if backend == "processes":
            raise RunFailed("the run failed: task 'a' cannot be pickled")
        return {"sequential": 0.65}.get(backend, 0.7)

    monkeypatch.setattr(MadeUp, "run_s", run_s)
    found = recommended("fan-in:width=32", "python-cpu:20ms", True)
    assert found.pick is found.sequential
    assert {each.backend for each in found.candidates} == {"sequential", "threads"}
    assert found.left_out == ("processes: the run failed: task 'a' cannot be pickled",)


@pytest.mark.usefixtures("quiet")
def test_workers_on_which_a_task_would_time_out_are_left_out() -> None:
    """Four tasks that hold the lock take 4 s each side by side, and may take 2 s."""
    graph = Graph(Task(f"t{index}", print, cost_s=1.0, timeout_s=2.0) for index in range(8))
    machines = dict.fromkeys(COSTS, Machine.ideal(CPUS)) | {
        "threads": Machine(Machine.ideal(CPUS).cores, (1.0, 1.0))
    }
    view = View(lambda task: Demand(1.0, 1.0, 1.0), machines)
    found = Advisor(MadeUp()).recommend("x", graph, [view], [4], verify=False)
    assert found.pick is not None
    assert found.pick.backend == "processes"
    assert found.left_out == (
        "On threads with 4 workers a task would take longer than its timeout_s.",
    )


@pytest.mark.usefixtures("quiet")
def test_of_two_that_are_equal_the_one_that_starts_faster_is_picked() -> None:
    found = recommended("fan-in:width=32", "native-cpu:20ms", True, threads=0.172, processes=0.17)
    assert found.pick is not None
    assert found.pick.backend == "threads"
    assert found.runner_up is not None
    assert found.runner_up.backend == "processes"
    assert found.regret == pytest.approx(0.172 / 0.17 - 1)
    found = recommended("fan-in:width=32", "native-cpu:20ms", True, threads=0.2, processes=0.17)
    assert found.pick is not None
    assert found.pick.backend == "processes"


@pytest.mark.usefixtures("quiet")
def test_workers_that_do_not_fit_into_the_memory_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=300e6))
    found = recommended("fan-in:width=32", "python-cpu:20ms")
    workers = [each.workers for each in found.candidates if each.backend == "processes"]
    assert workers == [1, 2, 4]  # 8 need 400 MB, more than 0.8 of what is free
    assert [each.workers for each in found.candidates if each.backend == "threads"][-1] == 8


@pytest.mark.usefixtures("quiet")
def test_a_start_that_costs_more_than_a_run_gains_is_told() -> None:
    """0.2 s for the processes; 4 tasks gain 60 ms, 64 nearly a second."""
    short = recommended("fan-in:width=4", "python-cpu:20ms")
    assert "Starting the workers takes 200 ms, once: more than a single run gains" in short.reason
    assert "Starting" not in recommended("fan-in:width=64", "python-cpu:20ms").reason


# -- deciding -----------------------------------------------------------------------------------

GRAPH = Graph(Task(f"t{index}", print, cost_s=1.0) for index in range(8))
VIEW = View(lambda task: Demand(1.0), dict.fromkeys(COSTS, Machine.ideal(CPUS)))


def candidate(backend: str, workers: int, *wall_s: float) -> Candidate:
    predicted = Estimate(wall_s[0], None, None)
    return Candidate(backend, workers, predicted, wall_s, tuple(range(len(wall_s))))


def decided(*candidates: Candidate, noise: Sequence[Reason] = ()) -> Recommendation:
    verdict = Verdict(tuple(noise))
    blank = Recommendation("x", None, None, candidates, 1.0, 8.0, 8.0, None, "", verdict)
    return decide(blank, GRAPH, VIEW, COSTS)


ALONE = candidate("sequential", 1, 8.0, 8.1, 7.9, 8.0, 8.2)


def test_the_fewest_workers_that_are_surely_near_the_best() -> None:
    four = candidate("threads", 4, 2.00, 2.01, 2.02, 2.00, 2.01)
    eight = candidate("processes", 8, 1.98, 1.97, 1.98, 1.99, 1.98)
    assert decided(ALONE, four, eight).pick is four
    unsure = replace(four, wall_s=(1.9, 2.2, 2.0, 2.15, 1.95))
    assert decided(ALONE, unsure, eight).pick is eight


@pytest.mark.parametrize(
    ("parts", "is_picked"),
    [
        ([0.9, 1.2, 1.02, 1.15, 0.95], True),  # nobody can say
        ([1.01, 1.2, 1.02, 1.15, 1.01], True),  # surely slower, but not by much
        ([0.9, 1.15, 1.08, 1.15, 0.95], False),
    ],
)
def test_of_as_many_workers_those_that_start_faster_need_not_be_surely_near(
    parts: list[float], is_picked: bool
) -> None:
    walls = [2.0, 2.1, 2.2, 2.0, 1.9]
    slow_start = replace(candidate("processes", 4, *walls), start_s=0.2)
    pairs = zip(parts, walls, strict=True)
    fast_start = candidate("threads", 4, *(part * wall_s for part, wall_s in pairs))
    pick = decided(ALONE, slow_start, fast_start).pick
    assert pick is (fast_start if is_picked else slow_start)


def test_a_gain_that_is_not_sure_is_none() -> None:
    threads = candidate("threads", 2, 7.9, 8.3, 7.7, 8.1, 7.8)
    assert decided(ALONE, threads).pick is ALONE


def test_what_cannot_be_told_apart_is_not_picked() -> None:
    one = candidate("threads", 4, 1.0, 2.0, 1.5, 1.9, 1.1)
    other = candidate("processes", 4, 1.9, 1.0, 1.4, 1.1, 1.9)
    found = decided(ALONE, one, other)
    assert found.pick is None
    assert "cannot be told apart" in found.reason
    assert str(found).startswith("x: cannot tell.")


def test_blocks_that_were_slow_for_all_do_not_matter() -> None:
    one = candidate("threads", 4, 1.0, 2.0, 1.5, 1.9, 1.1)
    other = candidate("processes", 4, 1.1, 2.2, 1.65, 2.1, 1.2)
    found = decided(ALONE, one, other)
    assert found.pick is one
    assert found.runner_up is other
    assert found.regret == 0.0


def test_runs_of_different_blocks_are_not_paired() -> None:
    """From the sixth block on, the machine takes twice as long; one candidate ran in all blocks."""
    early, late = (2.0, 2.01, 2.02, 2.01, 2.0), (4.0, 4.01, 4.02, 4.01, 4.0)
    fewest = candidate("threads", 2, *early, *late)
    first = candidate("processes", 4, *early)
    last = replace(candidate("processes", 8, *late), blocks=(5, 6, 7, 8, 9))
    found = decided(candidate("sequential", 1, *[3 * wall_s for wall_s in early]), fewest, first)
    assert found.pick is fewest
    assert found.regret == 0.0
    assert _pairs(fewest, last).value == 1.0
    apart = _pairs(first, last)  # no block in common: what is left are their medians
    assert apart.value == pytest.approx(0.5, rel=0.01)
    assert apart.has_interval


@pytest.mark.parametrize(("spent_s", "blocks"), [(2.0, 9), (20.0, 5)])
def test_more_blocks_are_run_where_the_first_ones_do_not_tell(
    monkeypatch: pytest.MonkeyPatch, quiet: float, spent_s: float, blocks: int
) -> None:
    """The first five blocks disagree wildly, the four after them do not.

    A quarter of a sweep is about 12 s here: after more than that, a sweep answers as well.
    """
    began_s = quiet
    walls = {"threads": [0.2, 0.4, 0.2, 0.4, 0.2], "processes": [0.4, 0.2, 0.4, 0.2, 0.4]}
    made: list[str] = []

    def run_s(self: MadeUp, graph: Graph, backend: str, workers: int) -> float:
        made.append(backend)
        number = made.count(backend)
        if number == 1:  # it warms up
            return 9.0
        return walls[backend][number - 2] if number < 7 else {"threads": 0.3}.get(backend, 0.33)

    monkeypatch.setattr(MadeUp, "run_s", run_s)
    monkeypatch.setattr(bench.recommend.advisor, "monotonic", lambda: began_s + spent_s)
    found = recommended("fan-in:width=32", "native-cpu:20ms", True)
    tried = [each for each in found.candidates if each.wall_s]
    assert {each.backend: len(each.wall_s) for each in tried} == dict.fromkeys(walls, blocks)
    assert {each.blocks for each in tried} == {tuple(range(blocks))}
    assert len(made) == 2 * (1 + blocks)


@pytest.mark.parametrize(("level", "picks"), [(NOISY, True), (UNUSABLE, False)])
def test_on_an_unusable_machine_nothing_is_recommended(level: str, picks: bool) -> None:
    noise = [Reason("foreign CPU", level, "others ran", "Stop them.")]
    four = candidate("threads", 4, 2.0, 2.01, 2.02, 2.0, 2.01)
    found = decided(ALONE, four, noise=noise)
    assert (found.pick is four) == picks
    assert picks or "Stop them." in found.reason


def test_a_chain_is_sequential_on_any_machine() -> None:
    chain = Graph([Task("a", print, cost_s=1.0), Task("b", print, ("a",), cost_s=1.0)])
    noise = Verdict((Reason("load", UNUSABLE, "others ran", "Stop them."),))
    blank = Recommendation("x", None, None, (ALONE,), 2.0, 2.0, 1.0, None, "", noise)
    found = decide(blank, chain, VIEW, COSTS)
    assert found.pick is ALONE
    assert "the critical path is all there is" in found.reason


def test_candidates_are_those_that_may_be_best() -> None:
    made = [
        Candidate("sequential", 1, Estimate(1.3, None, None)),
        Candidate("threads", 1, Estimate(1.0, None, None)),  # a pool of one is none
        Candidate("threads", 2, Estimate(1.04, None, None)),
        Candidate("threads", 4, Estimate(1.0, None, None)),
        Candidate("processes", 4, Estimate(1.2, None, None)),
    ]
    assert [str(each) for each in candidates_of(made, 4.0)] == [
        "sequential",
        "threads with 2 workers",
    ]
    assert [str(each) for each in candidates_of(made, 1.0)] == ["sequential"]
    made[3] = replace(made[3], wall_s=(1.0,) * 5)  # measured, so it is not much better than it is
    assert [str(each) for each in candidates_of(made, 4.0)] == ["threads with 2 workers"]


def test_numbers_of_workers_to_choose_from() -> None:
    assert default_counts(4, 100, waits=False) == [1, 2, 4, 8]
    assert default_counts(6, 100, waits=False) == [1, 2, 4, 6, 8, 12]
    assert default_counts(2, 11, waits=True) == [1, 2, 4, 8, 11]
    assert default_counts(2, 1000, waits=True) == [1, 2, 4, 8, 16, 32]


# -- what is measured ---------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [0.0, 0.25, 0.6, 0.9])
def test_the_part_that_needs_the_lock_is_found(truth: float) -> None:
    """From how long threads take side by side, as the simulation says for a known part."""
    cores = (1.0, 1.9, 2.8, 3.6)
    machine = Machine(cores, (1.0, 1.0))
    side_by_side = Simulated(4, machine=machine, demand=lambda _: Demand(1.0, 0.9, truth))
    graph = Graph(Task(f"t{index}", print) for index in range(4))
    took_s = run(graph, side_by_side, keep="none").makespan_s
    found, lock = lock_of(0.9, cores, 4, took_s)
    machine = Machine(cores, lock)
    again = Simulated(4, machine=machine, demand=lambda _: Demand(1.0, 0.9, found))
    assert run(graph, again, keep="none").makespan_s == pytest.approx(took_s, rel=1e-3)
    if truth >= 0.6:  # less than that leaves the lock free, so nobody can tell
        assert found == pytest.approx(truth, abs=1e-3)


def test_a_lock_that_costs_more_than_turns() -> None:
    """4 threads that take 5 times as long as one: handing over the lock costs a fifth."""
    gil, lock = lock_of(1.0, (1.0, 2.0, 3.0, 4.0), 4, 5.0)
    assert gil == 1.0
    assert lock == pytest.approx((1.0, 0.8))


def test_the_middle_half_of_the_rounds_says_how_the_machine_shares() -> None:
    rounds = [
        Round(0.010, 1.0, {2: 0.010, 4: 0.012}, 0.04),
        Round(0.012, 0.9, {2: 0.012, 4: 0.013}, 0.05),
        Round(0.011, 1.0, {2: 0.014, 4: 0.017}, 0.04),
        Round(0.010, 1.0, {2: 0.050, 4: 0.090}, 0.04),  # something else ran
        Round(0.030, 1.0, {2: 0.010, 4: 0.012}, 0.12),
    ]
    found = kind_of_work(rounds, 0.01, 4)
    assert found.factor == pytest.approx(1.1)
    assert kind_of_work(rounds, 0.01, 4, min).factor == pytest.approx(1.0)
    assert kind_of_work(rounds, 0.01, 4, max).factor == pytest.approx(3.0)
    two, four = 2 * 0.011 / 0.012, 4 * 0.011 / 0.014
    assert found.cores == pytest.approx((1.0, two, (two + four) / 2, four))
    assert found.gil == 1.0
    assert found.lock == pytest.approx((1.0, 1.0))


def test_loops_side_by_side_count_by_their_speeds() -> None:
    """On a core that is twice as fast, a worker gets twice the tasks of a run."""

    pool = Simulated(2, demand=lambda task: Demand(1.0 if task.name == "loop0" else 2.0, 0.0))
    assert _task_s(pool, Work("noop", 0), 1, 1) == 1.0
    assert _task_s(pool, Work("noop", 0), 1, 2) == pytest.approx(4 / 3)


def test_two_threads_of_one_core_are_no_lock() -> None:
    """A shared host: side by side takes 1.7 times as long now and then, of native code."""
    rounds = [
        *[Round(0.01, 1.0, {2: 0.017}, 0.017)] * 3,
        *[Round(0.01, 1.0, {2: 0.01}, 0.017)] * 2,
        *[Round(0.01, 1.0, {2: 0.01}, 0.01)] * 4,
    ]
    found = kind_of_work(rounds, 0.01, 2)
    assert found.gil == pytest.approx(0.0, abs=1e-6)
    assert 1.7 < found.cores[-1] < 2.0


def test_work_that_waits_shares_nothing() -> None:
    found = kind_of_work([Round(0.01, 0.01, {2: 0.01}, 0.01)], 0.01, 2)
    assert (found.cpu, found.gil, found.cores) == (0.0, 0.0, (1.0, 2.0))


def test_cores_are_seen_in_part_where_tasks_wait_too() -> None:
    """Half of the time on a core; if that half takes twice as long, 1.5 times as long in all."""
    assert speed_of(1.0, 2, 2.0) == 1.0
    assert speed_of(0.5, 2, 1.5) == 1.0
    assert speed_of(1.0, 2, 0.9) == 2.0  # faster than alone is noise


def test_bisection_finds_where_a_function_is() -> None:
    assert bisected(lambda x: x**2, 0.25, 1.0) == pytest.approx(0.5)


# -- for real -----------------------------------------------------------------------------------


def nap(*_: object) -> None:
    Work("sleep", 0.004)()


def naps() -> Graph:
    return Graph(Task(f"nap{index}", nap) for index in range(12))


def test_a_graph_of_ones_own() -> None:
    found = recommend(naps(), max_workers=[2, 8], name="naps")
    assert found.work_s >= 12 * 0.004
    assert {(each.backend, each.workers) for each in found.candidates} == {
        ("sequential", 1),
        ("processes", 2),
        ("processes", 8),
        ("threads", 2),
        ("threads", 8),
    }
    if found.pick is not None:  # else something else ran, and it says so
        assert found.pick.workers == 8
        assert len(found.pick.wall_s) >= 5
        assert found.speedup > 2


def test_a_graph_without_tasks_is_refused() -> None:
    with pytest.raises(BenchError, match="without tasks"):
        recommend(Graph([]))


def command(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["recommend", *map(str, arguments)])


def test_the_command_prints_and_draws(tmp_path: Path) -> None:
    options = ["--shapes", "fan-in:width=4", "--kernel", "sleep:2ms", "--max-workers", "2,4"]
    result = command(*options, "-o", tmp_path / "out")
    assert result.exit_code in (0, 4), result.output
    assert "fan-in:width=4, sleep:2ms: " in result.output
    lines = [line for line in result.output.splitlines() if not line.startswith("Figure")]
    assert max(map(len, lines)) <= 100
    (content,) = json.loads((tmp_path / "out" / "recommend.json").read_text())
    assert content["name"] == "fan-in:width=4, sleep:2ms"
    assert len(content["candidates"]) == 5
    assert "threads, predicted" in (tmp_path / "out" / "recommend.svg").read_text()


def test_only_the_numbers_that_are_asked_for(tmp_path: Path) -> None:
    options = ["--shapes", "chain:length=2", "--kernel", "noop", "--backends", "threads"]
    result = command(*options, "--max-workers", "1", "--json")
    (content,) = json.loads(result.output)
    assert [(each["backend"], each["workers"]) for each in content["candidates"]] == [
        ("sequential", 1),
        ("threads", 1),
    ]
    assert result.exit_code == 0  # a chain is sequential, whatever else runs


def test_json_and_predictions_only() -> None:
    result = command("--shapes", "chain:length=3", "--kernel", "sleep:1ms", "--no-verify", "--json")
    (content,) = json.loads(result.output)
    assert not any(each["wall_s"] for each in content["candidates"])
    assert result.exit_code == 0  # a chain is sequential, whatever else runs
    assert content["pick"]["backend"] == "sequential"


def test_what_is_finished_is_written_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Advisor.recommend

    def once(advisor: Advisor, name: str, *others: Any) -> Recommendation:
        if name.startswith("chain:length=3"):
            raise KeyboardInterrupt
        return whole(advisor, name, *others)

    monkeypatch.setattr(Advisor, "recommend", once)
    shapes = ["--shapes", "chain:length=2,chain:length=3", "--kernel", "noop"]
    result = command(*shapes, "--backends", "threads", "-o", tmp_path)
    assert result.exit_code == 130
    (content,) = json.loads((tmp_path / "recommend.json").read_text())
    assert content["name"] == "chain:length=2, noop"


def test_json_is_all_that_standard_output_has(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import os\nfrom executors import Graph, Task\n"
        "def shout(*_):\n    print('printed', flush=True)\n    os.system('echo from a child')\n"
        "def make():\n    return Graph([Task('a', shout), Task('b', shout, ('a',))])\n"
    )
    made = subprocess.run(
        [sys.executable, "-m", "bench", "recommend", "--graph", "loud:make", "--json", "-q"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (content,) = json.loads(made.stdout)
    assert content["pick"]["backend"] == "sequential"
    assert "printed" in made.stderr
    assert "from a child" in made.stderr


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor as a shell does")
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_json_with_closed_streams(closed: str) -> None:
    options = "recommend --shapes chain:length=2 --kernel noop --backends threads --json -q"
    made = subprocess.run(
        f"{shlex.quote(sys.executable)} -m bench {options} {closed}",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (made.returncode, made.stderr) == (0, "")
    if closed == "2>&-":
        assert json.loads(made.stdout)[0]["pick"]["backend"] == "sequential"


def test_a_graph_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "my_naps.py").write_text(
        "import time\nfrom executors import Graph, Task\n"
        "def nap(*_):\n    time.sleep(0.002)\n"
        "def make():\n    return Graph(Task(f'n{i}', nap) for i in range(4))\n"
        "def wrong():\n    return 3\ndef fails():\n    return {}['a']\n"
        "def empty():\n    return Graph([])\ndef exits():\n    raise SystemExit(0)\n"
    )
    (tmp_path / "my_error.py").write_text("1 / 0\n")
    result = command("--graph", "my_naps:make", "--backends", "threads", "--max-workers", "4")
    assert result.exit_code in (0, 4), result.output
    assert "my_naps:make: " in result.output
    for spec, says in (
        ("my_naps", "--graph is module:function"),
        ("my_naps:none", "my_naps has no function none"),
        ("not_there:make", "cannot import not_there (ModuleNotFoundError: "),
        ("my_error:make", "cannot import my_error (ZeroDivisionError: division by zero)"),
        ("my_naps:fails", "fails() failed (KeyError: 'a')"),
        ("my_naps:exits", "exits() failed (SystemExit: 0)"),
        ("my_naps:empty", "nothing to recommend for a graph without tasks"),
        ("my_naps:wrong", "wrong() gave int, no Graph"),
    ):
        result = command("--graph", spec)
        assert result.exit_code == 2
        assert says in " ".join(result.output.split())


def test_what_was_measured_before_is_enough(tmp_path: Path) -> None:
    result = command("--results", write(tmp_path, TYPICAL, noise=0.001))
    assert result.exit_code == 0
    assert "fan-in, sleep:20ms: threads with 8 workers" in result.output
    assert "chain, sleep:20ms: sequential" in result.output
    assert "On threads with 8 workers: 4.39 times as fast as sequentially" in result.output


def test_one_question_at_a_time(tmp_path: Path) -> None:
    result = command("--graph", "a:b", "--results", tmp_path)
    assert result.exit_code == 2
    assert "--graph and --results are two questions" in result.output
    for options, says in (
        (["--graph", "a:b", "--shapes", "chain"], "--shapes: does nothing beside --graph"),
        (
            ["--pipeline", "x", "--backends", "threads"],
            "--backends: does nothing beside --pipeline",
        ),
        (["--results", "x", "--max-workers", "2"], "--max-workers: does nothing beside --results"),
        (["--steps", "python"], "--steps: does nothing beside --shapes"),
        (["--backends", "simulated"], "never recommended"),
        (["--backends", "sequential"], "no backend to choose from"),
    ):
        result = command(*options)
        assert result.exit_code == 2
        assert says in " ".join(result.output.split())


def test_simulating_is_what_recommend_predicts_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictor is no second scheduler: without the simulated backend it has nothing."""
    made = []

    def noted(name: str, *arguments: Any, **options: Any) -> Any:
        made.append(name)
        return load_backend(name, *arguments, **options)

    monkeypatch.setattr("bench.predict.prediction.load_backend", noted)
    views = [View(partial(lambda task: Demand(1.0)), dict.fromkeys(COSTS, Machine.ideal(4)))]
    found = Advisor(MadeUp()).predict(GRAPH, views, [4], [])
    assert set(made) == {"simulated"}
    assert [each.seconds for each in found] == pytest.approx([8.0, 2.0, 2.0], rel=0.01)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
def test_with_two_busy_processes_beside_it_it_is_not_confidently_wrong() -> None:
    """Python code in a fan: processes are right; sequential if little was to gain meanwhile."""
    options = ["--shapes", "fan-in:width=16", "--kernel", "python-cpu:5ms", "--json"]
    with busy_processes(2 * usable_cpus()):
        result = command(*options)
    (content,) = json.loads(result.output)
    assert content["noise"]["level"] != "clean"
    if result.exit_code == 0:
        assert content["pick"]["backend"] in ("processes", "sequential")
        assert content["pick"]["backend"] == "processes" or content["regret"] <= 0.2
    else:
        assert (result.exit_code, content["pick"]) == (4, None)
        assert "too noisy" in content["reason"] or "told apart" in content["reason"]
