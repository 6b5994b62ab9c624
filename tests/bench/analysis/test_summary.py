"""Speedups, the pick and the finding of results with known times."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.analysis.answer import Answer, floored, sentence
from bench.analysis.estimates import ratio_of_medians
from bench.analysis.summary import Group, summarise
from bench.results.store import read_results
from tests.bench.results.written import TYPICAL, write


def groups_of(path: Path) -> tuple[Group, ...]:
    return summarise(read_results(path)).groups


def test_speedups_are_against_the_baseline_of_the_same_shape_and_kernel(tmp_path: Path) -> None:
    groups = groups_of(write(tmp_path, TYPICAL, noise=0.001))
    assert [(group.shape, group.kernel) for group in groups] == [
        ("fan-in", "sleep:20ms"),
        ("fan-in", "python-cpu:20ms"),
        ("chain", "sleep:20ms"),
        ("chain", "python-cpu:20ms"),
    ]
    for group in groups:
        baseline_s = TYPICAL[group.shape, group.kernel, "sequential", 1]
        for row in group.rows:
            case = row.case
            wall_s = TYPICAL[case.shape, case.kernel, case.backend, case.workers]
            assert row.speedup.value == pytest.approx(baseline_s / wall_s, rel=0.01)
            assert row.utilisation == pytest.approx(0.5 / case.workers, rel=0.01)
            cold = (baseline_s + 0.01) / (wall_s + 0.01)
            assert row.cold.value == pytest.approx(cold, rel=0.01)


def test_the_pick_is_the_fewest_workers_that_are_surely_near_the_best(tmp_path: Path) -> None:
    groups = groups_of(write(tmp_path, TYPICAL, noise=0.001))
    picks = [(group.pick.case.backend, group.pick.case.workers) for group in groups]
    assert picks == [("threads", 8), ("processes", 2), ("sequential", 1), ("sequential", 1)]
    rivals = [group.rival and group.rival.case.backend for group in groups]
    assert rivals == ["processes", "threads", "threads", "processes"]


def test_fewer_workers_win_where_more_gain_less_than_5_percent(tmp_path: Path) -> None:
    times = {
        ("fan-in", "noop", "sequential", 1): 1.0,
        ("fan-in", "noop", "threads", 2): 0.51,
        ("fan-in", "noop", "threads", 4): 0.5,
    }
    (group,) = groups_of(write(tmp_path, times, noise=0.002))
    assert group.pick.case.workers == 2
    times["fan-in", "noop", "threads", 4] = 0.4
    (group,) = groups_of(write(tmp_path / "b", times, noise=0.002))
    assert group.pick.case.workers == 4


def test_what_is_not_sure_is_not_picked(tmp_path: Path) -> None:
    """2 % slower in the median, but with that much noise nobody knows."""
    times = {
        ("fan-in", "noop", "sequential", 1): 1.0,
        ("fan-in", "noop", "threads", 2): 0.51,
        ("fan-in", "noop", "threads", 4): 0.5,
    }
    (group,) = groups_of(write(tmp_path, times, noise=0.05))
    by_workers = {row.case.workers: row for row in group.rows if row.case.backend == "threads"}
    slower = ratio_of_medians(by_workers[2].wall_s, by_workers[4].wall_s)
    assert slower.value <= 1.05
    assert slower.high is not None
    assert slower.high > 1.05
    assert group.pick is by_workers[4]


def test_a_pick_is_not_compared_with_what_cannot_be_picked(tmp_path: Path) -> None:
    """A single worker that happens to be fast is no pick, and must not make 4 out of 2."""
    times = {
        ("fan-in", "noop", "sequential", 1): 1.0,
        ("fan-in", "noop", "processes", 1): 0.6,
        ("fan-in", "noop", "threads", 2): 0.7,
        ("fan-in", "noop", "threads", 4): 0.69,
    }
    (group,) = groups_of(write(tmp_path, times, noise=0.002))
    assert group.pick.case.workers == 2


def test_each_graph_of_a_kernel_has_an_answer_of_its_own(tmp_path: Path) -> None:
    """A chain surely gains nothing; of the fan-in, too noisy, nobody knows."""
    times = {
        ("chain", "noop", "sequential", 1): 1.0,
        ("chain", "noop", "threads", 2): 1.0,
    }
    sure = groups_of(write(tmp_path / "a", times, noise=0.002))
    assert sentence([group.answer for group in sure]) == "Empty tasks: sequential."
    noisy = {
        ("fan-in", "noop", "sequential", 1): 1.0,
        ("fan-in", "noop", "threads", 2): 0.9,
    }
    unsure = groups_of(write(tmp_path / "b", noisy, noise=0.5))
    answers = [group.answer for group in (*sure, *unsure)]
    assert [answer.is_sure for answer in answers] == [True, False]
    assert sentence(answers).startswith("Empty tasks: sequential for chain, probably ")


def test_the_bound_is_what_equal_tasks_allow(tmp_path: Path) -> None:
    group = groups_of(write(tmp_path, TYPICAL))[0]
    assert (group.tasks, group.depth) == (9, 2)  # fan-in of 8
    assert [group.bound(p) for p in (1, 2, 4, 8, 99)] == [1, 1.8, 3, 4.5, 4.5]
    assert group.bound() == 4.5


def test_no_winner_is_named_where_none_can_be_shown(tmp_path: Path) -> None:
    times = {
        ("fan-in", "noop", "sequential", 1): 1.0,
        ("fan-in", "noop", "threads", 1): 0.6,
        ("fan-in", "noop", "threads", 2): 0.45,
    }
    (group,) = groups_of(write(tmp_path, times, noise=0.6))
    pair = next(row for row in group.rows if row.case.workers == 2)
    assert pair.speedup.low is not None
    assert pair.speedup.low < 1 < pair.speedup.value
    assert group.pick.case.backend == "sequential"
    assert group.guess is pair
    assert sentence([group.answer]) == "Empty tasks: probably 2 threads."
    assert group.answer.certainty == "best guess"


def test_a_pool_of_one_worker_is_never_picked(tmp_path: Path) -> None:
    times = {
        ("fan-in", "noop", "sequential", 1): 1.0,
        ("fan-in", "noop", "threads", 1): 0.6,
        ("fan-in", "noop", "threads", 2): 0.7,
    }
    (group,) = groups_of(write(tmp_path, times, noise=0.001))
    assert group.pick.case.workers == 2


def test_a_baseline_alone_is_nothing_to_compare(tmp_path: Path) -> None:
    times = {("fan-in", "noop", "sequential", 1): 1.0}
    summary = summarise(read_results(write(tmp_path, times)))
    assert summary.answers == ()
    assert summary.finding == "Only sequential runs were measured, so there is nothing to compare."


def test_the_finding_names_the_pick_of_each_kernel(tmp_path: Path) -> None:
    summary = summarise(read_results(write(tmp_path, TYPICAL, noise=0.001)))
    assert summary.finding == (
        "Waiting tasks: 8 threads for fan-in, sequential for chain."
        " Python code: 2 processes for fan-in, sequential for chain."
    )
    assert [answer.certainty for answer in summary.answers][2:] == ["", ""]


def test_what_is_not_decided_has_a_lower_bound_if_it_ran_often_enough(tmp_path: Path) -> None:
    summary = summarise(read_results(write(tmp_path, TYPICAL, blocks=3, noise=0.001)))
    first, *_ = summary.answers
    assert (first.where, first.is_sure) == ("threads with 8", False)
    assert (first.at_least, first.certainty) == (None, "best guess")
    assert summary.finding.startswith("Waiting tasks: probably 8 threads for fan-in")
    assert "Nothing can be said yet" in sentence([])


def test_what_runs_on_an_unusable_machine_is_never_sure(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, noise=0.001)
    quiet, disturbed = '"others_running": 0.0', '"others_running": 9.0'
    assert quiet in path.read_text()
    path.write_text(path.read_text().replace(quiet, disturbed))
    summary = summarise(read_results(path))
    assert summary.verdict.level == "unusable"
    assert not any(answer.is_sure for answer in summary.answers)
    assert summary.answers[0].certainty.startswith("at least 4.1")  # 4.39 less 5 %
    assert all(group.guess is not None for group in summary.groups)


def test_a_lower_bound_is_never_rounded_up() -> None:
    assert floored(1.8756) == "1.87"
    assert floored(1.999) == "1.99"


def test_a_sentence_names_the_graphs_only_where_they_differ() -> None:
    def answer(graph: str, backend: str, workers: int, is_sure: bool = True) -> Answer:
        return Answer(graph, "k", "Python code", backend, workers, None, is_sure)

    same = [answer("a", "threads", 4), answer("b", "threads", 4)]
    assert sentence(same) == "Python code: 4 threads."
    different = [*same, answer("c", "dask", 2), answer("d", "sequential", 1, is_sure=False)]
    assert sentence(different) == (
        "Python code: 4 threads for a and b, dask with 2 for c, probably sequential for d."
    )
    many = [answer(str(workers), "threads", workers) for workers in range(2, 8)]
    assert sentence(many) == "Python code: 2 threads for 2; it depends on the graph."


def test_cases_without_their_baseline_are_left_out(tmp_path: Path) -> None:
    times = {("fan-in", "noop", "threads", 2): 1.0}
    assert groups_of(write(tmp_path, times)) == ()


def test_a_rival_with_too_few_runs_leaves_everything_open(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, noise=0.001)
    lines = path.read_text().splitlines(keepends=True)
    is_rival = ['"backend": "processes", "workers": 8, "block": ' in line for line in lines]
    kept = [
        line
        for line, rival in zip(lines, is_rival, strict=True)
        if not rival or 'block": 0' in line
    ]
    path.write_text("".join(kept))
    (first, *_) = summarise(read_results(path)).answers
    assert not first.is_sure
