"""Finished runs in words: the headline, the table, HTML, pandas, and what made them slow."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    ArgumentError,
    BackendError,
    Graph,
    Task,
    load_backend,
    run,
)


def fail() -> None:
    raise ValueError("no such <column>")


GRAPH = Graph([Task("load", int), Task("check", fail, retries=1), Task("join", int, ("check",))])


def test_a_report_is_printed_as_one_line() -> None:
    report = run(GRAPH, "threads", workers=2, policy=CONTINUE_ON_FAILURE)
    assert str(report).startswith("3 tasks on threads with 2 workers took ")
    assert str(report).endswith(": 1 succeeded, 1 failed, 1 upstream failed")
    assert repr(report) == f"<RunReport: {report}>"
    assert repr(report.tasks["check"]).startswith("<TaskRecord 'check': failed after ")
    second = report.tasks["check"].attempts[1]
    assert repr(second).startswith("<attempt 2 of 'check' on ")
    assert repr(second).endswith(": failed: ValueError: no such <column>>")
    assert repr(second.call) == "<call 2 of 'check'>"
    assert "sequential took" in str(run(Graph([Task("a", int)]), "sequential"))


def test_the_summary_has_a_row_per_task_and_the_errors() -> None:
    report = run(GRAPH, "threads", workers=2, policy=CONTINUE_ON_FAILURE)
    lines = report.summary().splitlines()
    assert lines[0] == str(report)
    assert lines[2].split() == ["task", "status", "attempts", "worker", "waited", "ran"]
    assert [line.split()[0] for line in lines[3:6]] == ["load", "check", "join"]
    assert lines[4].split()[1:3] == ["failed", "2"]
    assert lines[5].split()[1:] == ["upstream_failed", "0"]
    assert lines[-3].startswith("check: ValueError: no such <column> (test_summary.py, line ")
    assert lines[-1].startswith("Failed attempts, with the delays before retries, took ")
    assert lines[-1].endswith(": check.")


def test_a_summary_of_many_tasks_shows_failures_and_the_longest() -> None:
    tasks = [Task(f"t{index}", int) for index in range(200)]
    tasks += [Task("bad", fail), Task("long", lambda: time.sleep(0.02))]
    text = run(Graph(tasks), "sequential", policy=CONTINUE_ON_FAILURE).summary()
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[3:5]] == ["bad", "long"]
    assert "The other 142 tasks succeeded in less time." in text


def test_notebooks_show_html() -> None:
    page = run(GRAPH, "sequential", policy=CONTINUE_ON_FAILURE)._repr_html_()
    assert page.count("<tr>") == 4
    assert "<td>upstream_failed</td>" in page
    assert "check: ValueError: no such &lt;column&gt; (test_summary.py, line " in page


def test_a_data_frame_has_seconds() -> None:
    pandas = pytest.importorskip("pandas")
    frame = run(GRAPH, "sequential", policy=CONTINUE_ON_FAILURE).to_pandas()
    assert list(frame.columns) == ["task", "status", "attempts", "worker", "waited_s", "ran_s"]
    assert list(frame["attempts"]) == [1, 2, 0]
    assert pandas.isna(frame["ran_s"][2])


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        run(Graph([Task("a", int)]), "sequential").to_pandas()


def test_a_name_with_workers_stands_for_a_backend() -> None:
    graph = Graph(Task(f"t{index}", int) for index in range(3))
    assert run(graph, "threads", workers=3).workers == 3
    with pytest.raises(BackendError, match="did you mean 'threads'"):
        run(graph, "thread")
    with pytest.raises(ArgumentError, match="a Backend has its own number"):
        run(graph, load_backend("threads"), workers=3)


@pytest.fixture
def slow_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "slow_to_import"


# Sent by value, so that workers import nothing else.
IMPORTING = eval("lambda: __import__('slow_to_import').__name__", {"__name__": "__main__"})


def test_what_workers_import_for_a_task_is_named_with_the_remedy(slow_module: str) -> None:
    """Six tasks of which the first one on each worker imports; the others take no time."""
    graph = Graph(Task(f"t{index}", IMPORTING) for index in range(6))
    with load_backend("processes", 2) as backend:
        first, second = run(graph, backend), run(graph, backend)
    assert {imports.modules for imports in first.imports} == {(slow_module,)}
    assert "Importing slow_to_import took up to " in first.summary()
    assert "load_backend('processes', preload=['slow_to_import'])" in first.summary()
    assert second.imports == ()
    assert "Importing" not in second.summary()
    with load_backend("processes", 2, preload=[slow_module]) as backend:
        assert run(graph, backend).imports == ()


def test_modules_that_a_pickle_names_are_found_as_well(slow_module: str, tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("import slow_to_import\ndef step():\n    pass\n")
    steps = __import__("steps")
    report = run(Graph([Task("a", steps.step)]), "processes", workers=1)
    (imports,) = report.imports
    assert set(imports.modules) == {"steps", slow_module}
    assert imports.load_s >= 0.3
    assert "Importing" in report.summary()
