"""The timelines that a run keeps: of the run closest to the median of each case."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Never

import pytest

from bench import BenchError
from bench.measure.timelines import Timelines, tasks_of, timeline_of
from bench.results.case import Case
from bench.results.store import Results, read_results
from bench.results.timelines import UNKNOWN, Timeline
from executors import Graph, RunReport, Task, load_backend, run
from tests.bench.results.written import TYPICAL, header, line, measurement, write

CASE = Case("fan-in", "sleep:20ms", "threads", 2)


def load(*_: object) -> int:
    return 1


def fit(value: int) -> int:
    return value


GRAPH = Graph([Task("a", load), Task("b", fit, ("a",)), Task("c", partial(fit), ("a",))])


def report_of(graph: Graph) -> RunReport:
    return run(graph, load_backend("sequential"), measure_cpu=True)


def test_tasks_are_told_apart_by_their_functions() -> None:
    tasks = tasks_of("mine", GRAPH)
    assert (tasks.names, tasks.needs) == (["a", "b", "c"], [[], [0], [0]])
    assert [tasks.kinds[kind] for kind in tasks.kind_of] == ["load", "fit", "fit"]


def test_tasks_with_one_function_are_told_apart_by_their_names() -> None:
    graph = Graph([Task(name, load) for name in ("part0", "part1", "join", "7")])
    assert [tasks_of("x", graph).kinds[kind] for kind in tasks_of("x", graph).kind_of] == [
        *("part", "part", "join", "7")
    ]


def test_too_many_tasks_are_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.measure.timelines.MOST_TASKS", 2)
    tasks = tasks_of("mine", GRAPH)
    assert (tasks.tasks, tasks.names, tasks.needs) == (3, ["a", "b"], [[], [0]])
    timeline = timeline_of(measurement(CASE, 1.0), GRAPH, report_of(GRAPH))
    assert [span.task for span in timeline.spans] == [0, 1]


def test_times_count_from_the_start_of_the_run() -> None:
    report = report_of(GRAPH)
    timeline = timeline_of(measurement(CASE, 1.0), GRAPH, report)
    assert timeline.worker_names == ["main"]
    for span, record in zip(timeline.spans, report.tasks.values(), strict=True):
        attempt = record.attempts[-1]
        assert span.started == round(1e6 * (attempt.started_s - report.started_s))
        assert span.ready <= span.taken <= span.started <= span.ended <= span.received
        assert span.ended <= timeline.end
        cpu_s = attempt.cpu_s  # None: too short to tell
        assert span.cpu == (UNKNOWN if cpu_s is None else round(1e6 * cpu_s))


def test_earlier_attempts_are_kept() -> None:
    left = [2]

    def flaky() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise ValueError

    graph = Graph([Task("flaky", flaky, retries=2)])
    spans = timeline_of(measurement(CASE, 1.0), graph, report_of(graph)).spans
    assert [span.number for span in spans] == [1, 2, 3]
    assert [span.received == UNKNOWN for span in spans] == [True, True, False]


def kept(walls: list[float], before: Results | None = None, first: int = 0) -> list[int]:
    """The blocks whose timelines are written, for runs that took this long."""
    timelines = Timelines(before)
    for block, wall_s in enumerate(walls, first):
        timelines.add(measurement(CASE, wall_s, block), GRAPH, report_of(GRAPH))
    return [one.block for one in timelines.lines() if isinstance(one, Timeline)]


@pytest.mark.parametrize(
    ("walls", "block"),
    [([3.0], 0), ([1.0, 5.0, 2.0], 2), ([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 4)],
)
def test_the_median_run_is_kept(walls: list[float], block: int) -> None:
    assert kept(walls) == [block]


def results(walls: list[float], block: int) -> Results:
    runs = tuple(measurement(CASE, wall_s, number) for number, wall_s in enumerate(walls))
    timeline = timeline_of(runs[block], GRAPH, report_of(GRAPH))
    tasks = tasks_of(CASE.shape, GRAPH)
    return Results({}, runs, graphs=(tasks,), timelines=(timeline,))


def test_a_continued_run_writes_only_what_is_closer_to_the_median() -> None:
    before = results([1.0, 2.0, 3.0], 1)
    assert kept([2.1, 9.0], before, first=3) == [3]
    assert kept([1.5, 2.5], before, first=3) == []
    written = list(Timelines(before).lines())
    assert written == []


@pytest.mark.parametrize("callee", ["timeline_of", "median"])
def test_what_an_interrupt_cuts_off_can_be_written(
    callee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Never:
        raise KeyboardInterrupt

    timelines = Timelines(None)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"bench.measure.timelines.{callee}", interrupted)
        timelines.add(measurement(CASE, 1.0, 0), GRAPH, report_of(GRAPH))
    assert len(list(timelines.lines())) in (0, 2)  # tasks and a run


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    run_ = measurement(CASE, 1.0)
    tasks, timeline = tasks_of(CASE.shape, GRAPH), timeline_of(run_, GRAPH, report_of(GRAPH))
    path = tmp_path / "results.jsonl"
    lines = [
        header([CASE.shape], [CASE.kernel], 1),
        *(line(one) for one in (run_, tasks, timeline, timeline)),
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    found = read_results(path)
    assert (found.graphs, found.timelines) == ((tasks,), (timeline,))


def broken(kind: str, **changes: object) -> dict[str, object]:
    content = {"graph": tasks_of(CASE.shape, GRAPH), "timeline": None}[kind]
    timeline = timeline_of(measurement(CASE, 1.0), GRAPH, report_of(GRAPH))
    return {kind: {**line(content or timeline)[kind], **changes}}


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("graph", {"needs": [[], [0], [7]]}, "needs names a task that is not there"),
        ("graph", {"kind_of": [0]}, "must be equally long"),
        ("graph", {"kind_of": [0, 0, 9]}, "names a kind that is not there"),
        ("graph", {"tasks": 1}, "must be equally long"),
        ("timeline", {"spans": [[0, 5, 1, 0, 0, 0, 0, 0, 0]]}, "a worker that is not there"),
        ("timeline", {"spans": [[0, 0, 1, 0, 0, 9, 1, 0, 0]]}, "out of order"),
        ("timeline", {"spans": [[0, 0, 1, 0, 0, 0]]}, "'spans' of the timeline must be a list"),
        ("timeline", {"spans": [[99, 0, 1, 0, 0, 0, 0, 0, 0]]}, "there is no graph"),
        ("timeline", {"spans": [[0.5, 0, 1, 0, 0, 0, 0, 0, 0]]}, "must be a list"),
    ],
)
def test_broken_lines_are_one_clear_error(
    tmp_path: Path, kind: str, changes: dict[str, object], says: str
) -> None:
    path = write(tmp_path, TYPICAL, end=None)
    lines = [broken("graph"), broken(kind, **changes)]
    with path.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in lines)
    with pytest.raises(BenchError, match="line ") as caught:
        read_results(path)
    assert says in str(caught.value)
