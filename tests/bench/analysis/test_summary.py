"""Speedups, the pick and the finding of results with known times."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.analysis.estimates import ratio_of_medians
from bench.analysis.summary import Group, finding, summarise
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


def test_nothing_is_said_of_a_kernel_that_one_of_its_shapes_contradicts(tmp_path: Path) -> None:
    """A chain surely gains nothing; of the fan-in, too noisy, nobody knows."""
    times = {
        ("chain", "noop", "sequential", 1): 1.0,
        ("chain", "noop", "threads", 2): 1.0,
    }
    sure = groups_of(write(tmp_path / "a", times, noise=0.002))
    assert "do not get faster" in finding(sure, 2)
    noisy = {
        ("fan-in", "noop", "sequential", 1): 1.0,
        ("fan-in", "noop", "threads", 2): 0.9,
    }
    unsure = groups_of(write(tmp_path / "b", noisy, noise=0.5))
    assert "could not be shown to get faster" in finding([*sure, *unsure], 2)


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
    assert "could not be shown to get faster" in finding([group], 2)


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
    assert "nothing to compare" in finding(groups_of(write(tmp_path, times)), 2)


def test_the_finding_names_the_pick_of_each_kernel(tmp_path: Path) -> None:
    groups = groups_of(write(tmp_path, TYPICAL, noise=0.001))
    said = finding(groups, 2)
    assert said.startswith(
        "On 2 CPUs, sleep:20ms tasks run fastest on threads with 8 workers: 4.39"
    )
    assert "python-cpu:20ms tasks run fastest on processes with 2 workers: 1.6" in said
    assert "in fan-in, and processes with 8 take at most 5 % longer" in said
    assert said.count(".") > 0
    assert said.endswith(".")


def test_the_finding_says_when_nothing_is_gained_or_known(tmp_path: Path) -> None:
    chain = {case: wall_s for case, wall_s in TYPICAL.items() if case[0] == "chain"}
    said = finding(groups_of(write(tmp_path, chain, blocks=3)), 1)
    assert "On 1 CPU, sleep:20ms tasks do not get faster with more workers" in said
    assert "fewer than 5 blocks" in said
    assert "Nothing can be said yet" in finding([], 2)


def test_cases_without_their_baseline_are_left_out(tmp_path: Path) -> None:
    times = {("fan-in", "noop", "threads", 2): 1.0}
    assert groups_of(write(tmp_path, times)) == ()
