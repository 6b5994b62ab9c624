"""A small plan, run for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.harness import measure, prepare
from bench.plan import Case, plan
from bench.results import ResultsWriter, read_results
from executors import Graph, Observer, RunFailed


def test_a_plan_is_measured_case_by_case(tmp_path: Path) -> None:
    planned = plan("fan-in:width=3,chain:length=2", "noop,sleep:2ms", None, "2", 2, 0, 2)
    bench = prepare(planned)
    told: list[Case] = []
    with ResultsWriter(tmp_path, bench.header) as writer:
        measure(bench, writer, progress=told.append)
    results = read_results(tmp_path)
    assert results.is_complete
    expected = [case for block in range(2) for _, own in planned.block(block) for case in own]
    assert [made.case for made in results.measurements] == expected == told
    for made in results.measurements:
        assert 0 < made.span_s <= made.work_s
        assert 0 < made.makespan_s <= made.wall_s
        assert made.span_s <= made.makespan_s
        assert made.memory_bytes > 0
        assert made.cpu_s > 0
        if made.kernel == "sleep:2ms":
            tasks = results.header["shapes"][made.shape]["tasks"]
            assert made.work_s >= 0.002 * tasks
            assert made.span_s >= 0.002 * results.header["shapes"][made.shape]["depth"]


def test_the_header_says_what_the_results_depend_on(tmp_path: Path) -> None:
    header = prepare(plan("diamond", "python-cpu:1ms", "threads", "1,2", 1, 7, 2)).header
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
    bench = prepare(plan("fan-in:width=2", "noop", None, "1,2", 2, 0, 2))
    with (
        pytest.raises(KeyboardInterrupt),
        ResultsWriter(tmp_path, bench.header) as writer,
    ):
        measure(bench, writer, [_Interrupt()])
    results = read_results(tmp_path)
    assert len(results.measurements) == 3
    assert not results.is_complete


def test_a_task_that_fails_ends_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = prepare(plan("fan-in:width=2", "noop", "threads", "1", 1, 0, 1))
    graph = bench.graphs["fan-in:width=2", "noop"]

    def fail(*_: object) -> None:
        raise ValueError("broken")

    for task in graph.tasks:
        object.__setattr__(task, "action", fail)
    with pytest.raises(RunFailed, match="broken"), ResultsWriter(tmp_path, bench.header) as writer:
        measure(bench, writer)
    assert read_results(tmp_path).measurements == ()
