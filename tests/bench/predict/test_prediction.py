"""What follows from measured loops, where the truth is known."""

from __future__ import annotations

import pytest

from bench.predict.prediction import (
    ProfileRound,
    _task_s,
    bisected,
    lock_of,
    profile_of,
    speed_of,
)
from bench.workloads.kernels import Work
from executors import Graph, Task, run
from executors.backends.simulated import Simulated
from executors.contention import Demand, Machine


@pytest.mark.parametrize("truth", [0.0, 0.25, 0.6, 0.9])
def test_the_part_that_needs_the_lock_is_found(truth: float) -> None:
    """From how long threads take side by side, as the simulation says for a known part."""
    cores = (1.0, 1.9, 2.8, 3.6)
    machine = Machine(cores, (1.0, 1.0))
    side_by_side = Simulated(4, machine=machine, demand=lambda _: Demand(1.0, 0.9, truth))
    graph = Graph(Task(f"t{index}", print) for index in range(4))
    took_s = run(graph, side_by_side, keep="none").makespan_s
    gil, lock = lock_of(0.9, cores, 4, took_s)
    machine = Machine(cores, lock)
    again = Simulated(4, machine=machine, demand=lambda _: Demand(1.0, 0.9, gil))
    assert run(graph, again, keep="none").makespan_s == pytest.approx(took_s, rel=1e-3)
    if truth >= 0.6:  # less than that leaves the lock free, so nobody can tell
        assert gil == pytest.approx(truth, abs=1e-3)


def test_a_lock_that_costs_more_than_turns() -> None:
    """4 threads that take 5 times as long as one: handing over the lock costs a fifth."""
    gil, lock = lock_of(1.0, (1.0, 2.0, 3.0, 4.0), 4, 5.0)
    assert gil == 1.0
    assert lock == pytest.approx((1.0, 0.8))


def test_the_middle_half_of_the_rounds_says_how_the_machine_shares() -> None:
    rounds = [
        ProfileRound(0.010, 1.0, {2: 0.010, 4: 0.012}, 0.04),
        ProfileRound(0.012, 0.9, {2: 0.012, 4: 0.013}, 0.05),
        ProfileRound(0.011, 1.0, {2: 0.014, 4: 0.017}, 0.04),
        ProfileRound(0.010, 1.0, {2: 0.050, 4: 0.090}, 0.04),  # something else ran
        ProfileRound(0.030, 1.0, {2: 0.010, 4: 0.012}, 0.12),
    ]
    profile = profile_of(rounds, 0.01, 4)
    assert profile.factor == pytest.approx(1.1)
    assert profile_of(rounds, 0.01, 4, min).factor == pytest.approx(1.0)
    assert profile_of(rounds, 0.01, 4, max).factor == pytest.approx(3.0)
    two, four = 2 * 0.011 / 0.012, 4 * 0.011 / 0.014
    assert profile.cores == pytest.approx((1.0, two, (two + four) / 2, four))
    assert profile.gil == 1.0
    assert profile.lock == pytest.approx((1.0, 1.0))


def test_loops_side_by_side_count_by_their_speeds() -> None:
    """On a core that is twice as fast, a worker gets twice the tasks of a run."""

    pool = Simulated(2, demand=lambda task: Demand(1.0 if task.name == "loop0" else 2.0, 0.0))
    assert _task_s(pool, Work("noop", 0), 1, 1) == 1.0
    assert _task_s(pool, Work("noop", 0), 1, 2) == pytest.approx(4 / 3)


def test_two_threads_of_one_core_are_no_lock() -> None:
    """A shared host: side by side takes 1.7 times as long now and then, of native code."""
    rounds = [
        *[ProfileRound(0.01, 1.0, {2: 0.017}, 0.017)] * 3,
        *[ProfileRound(0.01, 1.0, {2: 0.01}, 0.017)] * 2,
        *[ProfileRound(0.01, 1.0, {2: 0.01}, 0.01)] * 4,
    ]
    profile = profile_of(rounds, 0.01, 2)
    assert profile.gil == pytest.approx(0.0, abs=1e-6)
    assert 1.7 < profile.cores[-1] < 2.0


def test_work_that_waits_shares_nothing() -> None:
    profile = profile_of([ProfileRound(0.01, 0.01, {2: 0.01}, 0.01)], 0.01, 2)
    assert (profile.cpu, profile.gil, profile.cores) == (0.0, 0.0, (1.0, 2.0))


def test_cores_are_seen_in_part_where_tasks_wait_too() -> None:
    """Half of the time on a core; if that half takes twice as long, 1.5 times as long in all."""
    assert speed_of(1.0, 2, 2.0) == 1.0
    assert speed_of(0.5, 2, 1.5) == 1.0
    assert speed_of(1.0, 2, 0.9) == 2.0  # faster than alone is noise


def test_bisection_finds_where_a_function_is() -> None:
    assert bisected(lambda x: x**2, 0.25, 1.0) == pytest.approx(0.5)
