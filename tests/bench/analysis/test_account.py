"""Where the time of a case's workers went, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.analysis.losses.account import Account, Part, account_of
from bench.analysis.losses.causes import Cause, cause_of
from bench.analysis.losses.what_if import WhatIf
from bench.analysis.summary import summarise
from bench.results.case import Case
from bench.results.samples import Measurement
from bench.results.store import read_results
from bench.results.timelines import GraphTasks, Span, Timeline
from tests.bench.results.written import measurement

EXAMPLE = Path(__file__).parents[3] / "docs" / "reports" / "fan-in-diamond"
ALONE = Case("fan-in", "x", "sequential", 1)
NOTHING = dict.fromkeys(
    (
        *("retried_s", "reserved_s", "idle_handover_s", "idle_return_s"),
        *("idle_retry_s", "idle_graph_s", "idle_order_s", "idle_edges_s"),
    ),
    0.0,
)


def runs(case: Case, makespan_s: float, blocks: int = 5, **parts: Any) -> list[Measurement]:
    return [
        measurement(case, makespan_s, block, makespan_s=makespan_s, **{**NOTHING, **parts})
        for block in range(blocks)
    ]


def account(
    workers: int = 2,
    backend: str = "threads",
    work_s: float = 8.0,
    cpu_s: float = 8.0,
    alone_cpu_s: float = 8.0,
    **idle: float,
) -> Account:
    """The account of tasks that take 8 s one after the other."""
    case = Case("fan-in", "x", backend, workers)
    makespan_s = (work_s + sum(idle.values()) - idle.get("idle_order_s", 0.0)) / workers
    alone = runs(ALONE, 8.0, work_s=8.0, tasks_cpu_s=alone_cpu_s)
    parts: dict[str, Any] = {"work_s": work_s, "tasks_cpu_s": cpu_s, **idle}
    made = account_of(runs(case, makespan_s, **parts), alone)
    assert made is not None
    assert sum(made.shares[part].value for part in Part) == pytest.approx(1)
    return made


def cause(made: Account, backend: str = "threads", cpus: int = 2) -> Cause | None:
    return cause_of(Case("fan-in", "x", backend, made.workers), made, 8.0, cpus, has_lock=True)


def share(made: Account, part: Part) -> float:
    return made.shares[part].value


def test_longer_tasks_waited_or_needed_more_processor_time() -> None:
    made = account(work_s=12.0, cpu_s=9.0, idle_graph_s=4.0)
    assert share(made, Part.WORK) == pytest.approx(8 / 16)
    assert share(made, Part.SLOWER) == pytest.approx(1 / 16)
    assert share(made, Part.WAITING) == pytest.approx(3 / 16)
    assert share(made, Part.GRAPH) == pytest.approx(4 / 16)
    assert made.efficiency == pytest.approx(made.parallel_efficiency * made.computation_scaling)


def test_what_tasks_wait_by_themselves_is_not_lost() -> None:
    made = account(work_s=8.0, cpu_s=0.1, alone_cpu_s=0.1)
    assert share(made, Part.WAITING) == pytest.approx(0)
    assert made.efficiency == pytest.approx(1)


def test_intervals_are_over_the_blocks() -> None:
    case = Case("fan-in", "x", "threads", 2)
    alone = runs(ALONE, 8.0, work_s=8.0, tasks_cpu_s=8.0)
    steady = account_of(runs(case, 5.0, work_s=8.0, tasks_cpu_s=8.0, idle_graph_s=2.0), alone)
    assert steady is not None
    assert steady.shares[Part.GRAPH].low == pytest.approx(0.2)
    few = account_of(runs(case, 5.0, 2, work_s=8.0, tasks_cpu_s=8.0, idle_graph_s=2.0), alone)
    assert few is not None and few.shares[Part.GRAPH].low is None
    varied = [
        measurement(
            case,
            4 + idle_s / 2,
            block,
            makespan_s=4 + idle_s / 2,
            work_s=8.0,
            tasks_cpu_s=8.0,
            **{**NOTHING, "idle_graph_s": idle_s},
        )
        for block, idle_s in enumerate([1.0, 2.0, 3.0, 2.0, 1.5])
    ]
    made = account_of(varied, alone)
    assert made is not None
    graph = made.shares[Part.GRAPH]
    assert graph.low is not None and graph.high is not None
    assert graph.low < graph.value < graph.high


def test_old_results_have_no_account() -> None:
    case = Case("fan-in", "x", "threads", 2)
    alone = [measurement(ALONE, 8.0)]
    assert account_of([measurement(case, 4.0)], alone) is None
    assert account_of(runs(case, 4.0, work_s=8.0, tasks_cpu_s=8.0), alone) is None
    later = [measurement(ALONE, 8.0, 9, **NOTHING, tasks_cpu_s=8.0)]  # another block
    assert account_of(runs(case, 4.0, work_s=8.0, tasks_cpu_s=8.0), later) is None


@pytest.mark.parametrize(
    ("made", "backend", "part", "says"),
    [
        (account(work_s=15.0, cpu_s=8.0), "threads", Part.WAITING, "the interpreter lock"),
        (
            account(work_s=12.0, cpu_s=8.0, idle_handover_s=4.0),
            "threads",
            Part.WAITING,
            "the interpreter lock",
        ),
        (account(4, work_s=15.0, cpu_s=8.0), "processes", Part.WAITING, "4 workers share 2 CPUs"),
        (account(work_s=15.0, cpu_s=8.0), "processes", Part.WAITING, "for a core or for each"),
        (account(work_s=15.0, cpu_s=15.0), "threads", Part.SLOWER, "more processor time"),
        (account(idle_graph_s=8.0), "threads", Part.GRAPH, "no task is ready"),
        (
            account(idle_graph_s=8.0, idle_order_s=6.0),
            "threads",
            Part.ORDER,
            "long tasks start too late",
        ),
        (account(idle_handover_s=8.0), "processes", Part.HANDOVER, "have not started"),
        (account(idle_return_s=8.0), "processes", Part.RETURN, "on their way"),
        (account(idle_retry_s=8.0), "threads", Part.DELAY, "waits for its next attempt"),
        (account(idle_edges_s=8.0), "processes", Part.EDGES, "starts or ends"),
        (account(retried_s=8.0), "processes", Part.RETRIED, "attempts failed"),
        (account(reserved_s=8.0), "processes", Part.RESERVED, "slots"),
    ],
)
def test_the_largest_loss_is_named(made: Account, backend: str, part: Part, says: str) -> None:
    found = cause(made, backend)
    assert found is not None
    assert (found.part, says in found.loss) == (part, True), found
    assert f"{100 * found.share:.0f} % of the workers' time: " in str(found)


def test_tasks_that_wait_by_themselves_do_not_wait_for_the_lock() -> None:
    made = account(work_s=9.0, cpu_s=0.1, alone_cpu_s=0.1)
    found = cause(made)
    assert found is not None and "lock" not in found.loss.replace("locks", "")


def test_nothing_is_said_about_next_to_nothing() -> None:
    assert cause(account(work_s=8.05, cpu_s=8.05)) is None


def timelines(
    needs: list[list[int]], times_us: list[int], cpu_us: list[int], workers: int, end: int
) -> tuple[GraphTasks, Timeline]:
    names = [f"t{index}" for index in range(len(times_us))]
    tasks = GraphTasks("fan-in", len(names), names, ["t"], [0] * len(names), needs)
    spans = [
        Span(index, 0, 1, 0, 0, 0, time_us, time_us, cpu)
        for index, (time_us, cpu) in enumerate(zip(times_us, cpu_us, strict=True))
    ]
    backend = "sequential" if workers == 1 else "threads"
    return tasks, Timeline("fan-in", "x", backend, workers, 0, end, ["w"], spans)


def gain(made: Account, needs: list[list[int]], times: list[int], cpu: list[int], end: int) -> str:
    """The cause of a case with these tasks, which compute for 1 s each if they run alone."""
    tasks, timeline = timelines(needs, times, cpu, made.workers, end)
    _, alone = timelines(needs, cpu, cpu, 1, sum(cpu))
    case = Case("fan-in", "x", "threads", made.workers)
    return str(cause_of(case, made, end / 1e6, 2, True, tasks, timeline, alone))


def test_without_the_lock_two_threads_are_twice_as_fast() -> None:
    eight = [1_000_000] * 8
    text = gain(
        account(work_s=16.0, cpu_s=8.0), [[]] * 8, [2 * time for time in eight], eight, 8_000_000
    )
    least = "Without this loss, the run would take 4.00 s at best, instead of 8.00 s"
    assert f"{least}: 2.00 times as fast." in text


@pytest.mark.parametrize(
    ("are_faster", "says"),
    [
        (True, "Processes have one each, and were faster."),
        (False, "Processes have one each, but were slower; longer tasks lose less."),
        (None, "Processes have one each."),
    ],
)
def test_against_the_lock_processes_help_if_they_were_faster(
    are_faster: bool | None, says: str
) -> None:
    made = account(work_s=16.0, cpu_s=8.0)
    case = Case("fan-in", "x", "threads", made.workers)
    found = cause_of(case, made, 8.0, 2, True, processes_are_faster=are_faster)
    assert found is not None
    assert found.remedy == says


def test_the_summary_knows_whether_processes_were_faster() -> None:
    groups = {group.name: group for group in summarise(read_results(EXAMPLE)).groups}
    causes = groups["fan-in, python-cpu:20ms"].causes
    (by_lock,) = (one for case, one in causes.items() if case.backend == "threads")
    assert by_lock.remedy.endswith("and were faster.")


def test_a_long_last_task_is_named_with_what_splitting_it_gives() -> None:
    times = [1_000_000] * 6 + [4_000_000]
    made = account(work_s=10.0, cpu_s=10.0, alone_cpu_s=10.0, idle_graph_s=4.0)
    text = gain(made, [[]] * 6 + [list(range(6))], times, times, 7_000_000)
    assert "More workers do not help. Split the task 't6'." in text
    assert "1.40 times as fast" in text  # 7 s, or 3 + 4 / 2


def test_computing_is_not_split_over_more_workers_than_there_are_cpus() -> None:
    second = 1_000_000
    tasks, timeline = timelines([[], [0]], [second, 4 * second], [0, 4 * second], 4, 5 * second)
    on_two, on_four = (WhatIf(tasks, timeline, None, cpus) for cpus in (2, 4))
    assert on_two.gain(Part.GRAPH, 0.5) == pytest.approx(5 / 3)  # 1 s, then 4 s on 2 CPUs
    assert on_four.gain(Part.GRAPH, 0.5) == pytest.approx(5 / 2)


def test_a_path_of_equal_tasks_blames_none_of_them() -> None:
    times = [1_000_000] * 4
    made = account(idle_graph_s=8.0)
    text = gain(made, [[], [0], [1], [2]], times, times, 4_000_000)
    assert "The longest chain of needs ('t0', 't1', 't2', 't3') takes 4.00 s" in text
    assert "Split" not in text


def test_a_long_chain_is_named_by_its_ends() -> None:
    times = [1_000_000] * 9
    needs = [[], *([index] for index in range(8))]
    text = gain(account(idle_graph_s=8.0), needs, times, times, 9_000_000)
    assert "The longest chain of needs ('t0', 7 more, 't8') takes 9.00 s" in text


def test_an_order_that_knows_the_times_is_simulated() -> None:
    times = [1_000_000] * 8 + [4_000_000]
    made = account(idle_graph_s=4.0, idle_order_s=4.0)
    text = gain(made, [[]] * 9, times, times, 8_000_000)
    assert "1.33 times as fast" in text  # 8 s, or 6
