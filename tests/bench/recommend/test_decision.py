"""Which candidate is picked, from given times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.analysis.estimates import Estimate
from bench.machine.noise import NOISY, UNUSABLE, Reason, Verdict
from bench.predict.prediction import TaskModel
from bench.recommend.decision import candidates_of, corrections, decide
from bench.recommend.recommendation import Candidate, Recommendation, ratio_of_times
from executors import Graph, Task
from executors.contention import Demand, Machine
from tests.bench.recommend.machines import COSTS, CPUS

GRAPH = Graph(Task(f"t{index}", print, cost_s=1.0) for index in range(8))
MODEL = TaskModel(lambda task: Demand(1.0), dict.fromkeys(COSTS, Machine.ideal(CPUS)))


def candidate(backend: str, workers: int, *wall_s: float) -> Candidate:
    predicted = Estimate(wall_s[0], None, None)
    return Candidate(backend, workers, predicted, wall_s, tuple(range(len(wall_s))))


def decided(*candidates: Candidate, noise: Sequence[Reason] = ()) -> Recommendation:
    verdict = Verdict(tuple(noise))
    blank = Recommendation("x", None, None, candidates, 1.0, 8.0, 8.0, None, "", verdict)
    return decide(blank, GRAPH, MODEL, COSTS)


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


@pytest.mark.parametrize(("measured_s", "speedup"), [(0.5, 0.66 / 0.5), (0.12, 0.66 / 0.18)])
def test_a_predicted_speedup_is_never_better_than_what_was_measured(
    measured_s: float, speedup: float
) -> None:
    """Predictions may be wrong, or the machine may have got faster since they were made."""
    alone = Candidate("sequential", 1, Estimate(0.66, None, None))
    pick = Candidate("processes", 4, Estimate(0.18, None, None), (measured_s,) * 5)
    candidates = alone, pick
    advice = Recommendation("x", pick, None, candidates, 0.1, 0.6, 6.0, None, "", Verdict())
    assert advice.speedup == pytest.approx(speedup)
    assert advice.answer is not None
    assert advice.answer.certainty == "predicted"


def test_what_cannot_be_told_apart_is_not_picked() -> None:
    one = candidate("threads", 4, 1.0, 2.0, 1.5, 1.9, 1.1)
    other = candidate("processes", 4, 1.9, 1.0, 1.4, 1.1, 1.9)
    advice = decided(ALONE, one, other)
    assert advice.pick is None
    assert advice.reason.startswith(
        "4 workers run it at least 3.76 times as fast as sequential. The runs differ too much to"
        " choose between processes and threads. Best guess: processes with 4 workers."
    )
    assert advice.guess is other
    assert str(advice).startswith("x: cannot tell.")


def test_blocks_that_were_slow_for_all_do_not_matter() -> None:
    one = candidate("threads", 4, 1.0, 2.0, 1.5, 1.9, 1.1)
    other = candidate("processes", 4, 1.1, 2.2, 1.65, 2.1, 1.2)
    advice = decided(ALONE, one, other)
    assert advice.pick is one
    assert advice.runner_up is other
    assert advice.regret == 0.0


def test_runs_of_different_blocks_are_not_paired() -> None:
    """From the sixth block on, the machine takes twice as long; one candidate ran in all blocks."""
    early, late = (2.0, 2.01, 2.02, 2.01, 2.0), (4.0, 4.01, 4.02, 4.01, 4.0)
    fewest = candidate("threads", 2, *early, *late)
    first = candidate("processes", 4, *early)
    last = replace(candidate("processes", 8, *late), blocks=(5, 6, 7, 8, 9))
    advice = decided(candidate("sequential", 1, *[3 * wall_s for wall_s in early]), fewest, first)
    assert advice.pick is fewest
    assert advice.regret == 0.0
    assert ratio_of_times(fewest, last).value == 1.0
    apart = ratio_of_times(first, last)  # no block in common: what is left are their medians
    assert apart.value == pytest.approx(0.5, rel=0.01)
    assert apart.has_interval


@pytest.mark.parametrize(("level", "picks"), [(NOISY, True), (UNUSABLE, False)])
def test_on_an_unusable_machine_nothing_is_recommended(level: str, picks: bool) -> None:
    noise = [Reason("foreign CPU", level, "others ran", "Stop them.")]
    four = candidate("threads", 4, 2.0, 2.01, 2.02, 2.0, 2.01)
    advice = decided(ALONE, four, noise=noise)
    assert (advice.pick is four) == picks
    assert picks or "Stop them." in advice.reason


def test_a_chain_is_sequential_on_any_machine() -> None:
    chain = Graph([Task("a", print, cost_s=1.0), Task("b", print, ("a",), cost_s=1.0)])
    noise = Verdict((Reason("load", UNUSABLE, "others ran", "Stop them."),))
    blank = Recommendation("x", None, None, (ALONE,), 2.0, 2.0, 1.0, None, "", noise)
    advice = decide(blank, chain, MODEL, COSTS)
    assert advice.pick is ALONE
    assert "nothing can run in parallel" in advice.reason


def test_why_shorter_predictions_were_not_run_is_said() -> None:
    four = replace(candidate("threads", 4, *[2.4] * 5), predicted=Estimate(2.0, None, None))
    six = Candidate("threads", 6, Estimate(2.1, None, None))
    two = candidate("processes", 2, *[4.0] * 5)
    advice = decided(ALONE, four, six, two)
    assert advice.pick is four
    (sentence,) = corrections(advice)
    assert sentence.startswith("Runs of threads took 1.20 times as long as predicted; ")
    assert not list(corrections(decided(ALONE, four, two)))
    longer = replace(six, predicted=Estimate(2.5, None, None))
    assert not list(corrections(decided(ALONE, four, longer, two)))
    better = replace(six, predicted=Estimate(1.5, None, None))  # as if time had run out
    assert not list(corrections(decided(ALONE, four, better, two)))


def test_candidates_are_those_that_may_be_best() -> None:
    predicted = [
        Candidate("sequential", 1, Estimate(1.3, None, None)),
        Candidate("threads", 1, Estimate(1.0, None, None)),  # a pool of one is none
        Candidate("threads", 2, Estimate(1.04, None, None)),
        Candidate("threads", 4, Estimate(1.0, None, None)),
        Candidate("processes", 4, Estimate(1.2, None, None)),
    ]
    assert [str(one) for one in candidates_of(predicted, 4.0)] == [
        "sequential",
        "threads with 2 workers",
    ]
    assert [str(one) for one in candidates_of(predicted, 1.0)] == ["sequential"]
    predicted[3] = replace(predicted[3], wall_s=(1.0,) * 5)  # now it is measured
    assert [str(one) for one in candidates_of(predicted, 4.0)] == ["threads with 2 workers"]
