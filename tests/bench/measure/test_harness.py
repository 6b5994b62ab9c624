"""A small plan, run for real."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.summary import summarise
from bench.machine.sampler import Sampler
from bench.measure.harness import measure, timed
from bench.measure.options import RunOptions
from bench.measure.plan import Plan, plan
from bench.measure.prepared import prepare
from bench.results.store import ResultsWriter, read_results
from executors import Graph, Observer, RunFailed, Task, load_backend


def small(**options: Any) -> Plan:
    usual = {"shapes": "fan-in:width=2", "kernel": "noop", "max_workers": "1,2", "blocks": 2}
    return plan(RunOptions.of({**usual, **options}), cpus=2)


def test_a_plan_is_measured_case_by_case(tmp_path: Path) -> None:
    planned = small(
        shapes="fan-in:width=3,chain:length=2", kernel="noop,sleep:2ms", max_workers="2"
    )
    prepared = prepare(planned)
    progress: list[str] = []
    with ResultsWriter.create(tmp_path, prepared.header) as writer:
        measure(prepared, writer, progress=progress.append)
    results = read_results(tmp_path)
    assert results.is_complete
    expected = [case for block in range(2) for _, own in planned.block(block) for case in own]
    assert [measured.case for measured in results.measurements] == expected
    assert [step.partition(", run ")[0] for step in progress] == list(map(str, expected))
    for measured in results.measurements:
        assert 0 < measured.span_s <= measured.work_s
        assert 0 < measured.makespan_s <= measured.wall_s
        assert measured.span_s <= measured.makespan_s
        assert measured.memory_bytes > 0
        assert measured.cpu_s > 0
        if measured.kernel == "sleep:2ms":
            tasks = results.header["shapes"][measured.shape]["tasks"]
            assert measured.work_s >= 0.002 * tasks
            assert measured.span_s >= 0.002 * results.header["shapes"][measured.shape]["depth"]


def test_the_header_says_what_the_results_depend_on(tmp_path: Path) -> None:
    header = prepare(
        small(shapes="diamond", kernel="python-cpu:1ms", backends="threads", blocks=1, seed=7)
    ).header
    assert header["planned"] == 3
    assert header["config"]["seed"] == 7
    assert header["shapes"]["diamond"]["tasks"] == 4
    assert header["kernels"]["python-cpu:1ms"]["units"] >= 1
    assert header["machine"]["cpus"]["usable"] >= 1
    assert header["versions"]["python"].startswith(("CPython", "PyPy"))
    assert header["versions"]["psutil"] != "not installed"


class _Interrupt(Observer):
    """Presses Ctrl-C in the fourth timed run."""

    runs = 0

    def run_started(self, graph: Graph, backend: str, workers: int) -> None:
        self.runs += 1
        if self.runs == 4:
            raise KeyboardInterrupt


def test_an_interrupted_run_leaves_what_it_has(tmp_path: Path) -> None:
    prepared = prepare(small())
    with (
        pytest.raises(KeyboardInterrupt),
        ResultsWriter.create(tmp_path, prepared.header) as writer,
    ):
        measure(prepared, writer, [_Interrupt()])
    results = read_results(tmp_path)
    assert len(results.measurements) == 3
    assert not results.is_complete


def test_a_task_that_fails_ends_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(small(backends="threads", max_workers="1", blocks=1))
    graph = prepared.graphs["fan-in:width=2", "noop"]

    def fail(*_: object) -> None:
        raise ValueError("broken")

    for task in graph.tasks:
        object.__setattr__(task, "action", fail)
    with (
        pytest.raises(RunFailed, match="broken"),
        ResultsWriter.create(tmp_path, prepared.header) as writer,
    ):
        measure(prepared, writer)
    assert read_results(tmp_path).measurements == ()


def test_a_budget_ends_the_run_after_whole_blocks(tmp_path: Path) -> None:
    prepared = prepare(small(backends="threads", blocks=None, budget="1s"))
    with ResultsWriter.create(tmp_path, prepared.header) as writer:
        assert measure(prepared, writer) == "budget"
    results = read_results(tmp_path)
    assert results.end == "budget"
    blocks = Counter(measured.block for measured in results.measurements)
    assert 1 <= len(blocks) < 50
    assert set(blocks.values()) == {3}


def test_a_precision_ends_the_run_when_all_intervals_are_so_narrow(tmp_path: Path) -> None:
    planned = small(kernel="sleep:2ms", backends="threads", blocks=None, precision=0.5)
    prepared = prepare(planned)
    with ResultsWriter.create(tmp_path, prepared.header) as writer:
        assert measure(prepared, writer) == "precision"
    results = read_results(tmp_path)
    assert max(measured.block for measured in results.measurements) >= 4  # fewer have no interval
    assert all(
        row.speedup.precision <= 0.5 for group in summarise(results).groups for row in group.rows
    )


def test_what_else_happened_is_written_for_each_pool(tmp_path: Path) -> None:
    planned = small(kernel="native-cpu:2ms", blocks=1)
    prepared = prepare(planned)
    with ResultsWriter.create(tmp_path, prepared.header) as writer:
        measure(prepared, writer)
    results = read_results(tmp_path)
    pools = [(pool.backend, pool.workers, pool.python) for pool in results.interference]
    assert pools == [pool for pool, _ in planned.block(0)]
    for pool in results.interference:
        walls = [
            measured.wall_s
            for measured in results.measurements
            if (measured.backend, measured.workers) == (pool.backend, pool.workers)
        ]
        assert pool.wall_s >= sum(walls)
    (ceiling,) = results.ceilings
    assert (ceiling.kernel, ceiling.workers) == ("native-cpu:2ms", 2)
    assert 0.3 < ceiling.value < 3


def test_a_precision_reached_in_the_last_block_counts(tmp_path: Path) -> None:
    prepared = prepare(small(kernel="sleep:5ms", backends="threads", blocks=5, precision=0.9))
    with ResultsWriter.create(tmp_path, prepared.header) as writer:
        assert measure(prepared, writer) == "precision"
    assert len({run.block for run in read_results(tmp_path).measurements}) == 5


def test_processor_time_of_workers_elsewhere_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([100.0, 107.0])
    monkeypatch.setattr(
        "executors.backends.threads.Threads.elsewhere_cpu_s", lambda _: next(readings)
    )
    graph = Graph([Task("t", int)])
    with Sampler() as sampler, load_backend("threads", 1) as pool:
        sample = timed(graph, pool, sampler).sample
    assert 7.0 <= sample.cpu_s < 8.0
