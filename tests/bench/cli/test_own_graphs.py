"""The user's own graphs in `bench run`: measured, resumed, extended, compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.results.store import read_results
from bench.workloads.own_graphs import OWN_TASKS
from tests.available import POOLS

MODULE = """
import time
from executors import Graph, Task
NAP_S = 0.003
def nap(*_):
    time.sleep(NAP_S)
def make():
    naps = [Task(f"nap{i}", nap) for i in range(3)]
    return Graph([*naps, Task("join", nap, tuple(task.name for task in naps))])
def fails():
    def broken(_):
        raise ValueError("no such column: price")
    return Graph([Task("load", nap), Task("broken", broken, ("load",))])
def unpicklable():
    import threading
    lock = threading.Lock()
    return Graph([Task("a", lambda: lock.locked()), Task("b", nap)])
def empty():
    return Graph([])
"""

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module of a name of its own, because an imported one is not read again."""

    def written(name: str) -> str:
        (tmp_path / f"{name}.py").write_text(MODULE)
        return name

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return written


def bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_it_is_measured_on_every_backend_up_to_its_width(module: Callable[[str], str]) -> None:
    name = module("own_measured")
    result = bench("run", "--graph", f"{name}:make", "--blocks", "1", "-o", "out")
    assert result.exit_code == 0, result.output
    results = read_results(Path("out"))
    assert {run.kernel for run in results.measurements} == {OWN_TASKS}
    assert {run.backend for run in results.measurements} == {"sequential", *POOLS}
    assert max(run.workers for run in results.measurements) == 3  # its width
    assert all(run.first_s is not None and run.first_s > 0 for run in results.measurements)
    assert f"{name}:make: speedup at most " in result.output
    page = Path("out", "report.md").read_text()
    assert f"## {name}:make\n" in page
    trial = results.header["graphs"][f"{name}:make"]
    assert trial["work_s"] >= 4 * 0.003
    assert trial["cpu"] < 0.9


def test_several_graphs_and_shapes_go_together(module: Callable[[str], str]) -> None:
    name = module("own_several")
    options = ["--graph", f"{name}:make", "--shapes", "chain", "--kernel", "noop"]
    options += ["--backends", "threads", "--max-workers", "2", "--blocks", "1"]
    assert bench("run", *options, "-o", "out").exit_code == 0
    shapes = [run.shape for run in read_results(Path("out")).measurements]
    assert sorted(set(shapes)) == ["chain", f"{name}:make"]


def test_a_failing_task_is_shown_with_its_backend_and_traceback(
    module: Callable[[str], str],
) -> None:
    name = module("own_fails")
    for command in ("run", "recommend"):
        result = bench(command, "--graph", f"{name}:fails", "-q")
        assert result.exit_code == 1
        assert f"{name}:fails on sequential: 1 of 2 tasks failed: 'broken'" in result.output
        assert f'{name}.py", line 12, in broken' in result.output
        assert "ValueError: no such column: price" in result.output
    assert not Path("bench-results").exists()


def test_a_backend_that_cannot_run_it_is_left_out_and_named(module: Callable[[str], str]) -> None:
    name = module("own_unpicklable")
    result = bench("run", "--graph", f"{name}:unpicklable", "--blocks", "1", "-o", "out")
    assert result.exit_code == 0
    assert f"{name}:unpicklable does not run on processes, which is left out" in result.output
    assert "cannot be pickled" in result.output
    assert {run.backend for run in read_results(Path("out")).measurements} == {
        "sequential",
        "threads",
    }
    assert "It does not run on processes, which is left out" in Path("out", "report.md").read_text()


def test_a_finished_run_is_extended(module: Callable[[str], str]) -> None:
    name = module("own_extended")
    few = ["--backends", "threads", "--max-workers", "2"]
    assert (
        bench("run", "--graph", f"{name}:make", *few, "--blocks", "2", "-o", "out").exit_code == 0
    )
    before = Path("out", "results.jsonl").read_text()
    result = bench("run", "--resume", "out", "--blocks", "4")
    assert result.exit_code == 0, result.output
    assert "2 cases x 4 blocks, 2 of them done: about " in result.output
    text = Path("out", "results.jsonl").read_text()
    assert text.startswith(before)
    results = read_results(Path("out"))
    assert results.is_complete
    assert len(results.measurements) == results.header["planned"] == 8
    assert results.header["config"]["blocks"] == 4
    assert "Nothing is missing" in bench("run", "--resume", "out", "--blocks", "3").output


def test_a_run_is_not_continued_with_other_code(module: Callable[[str], str]) -> None:
    name = module("own_changed")
    few = ["--backends", "threads", "--max-workers", "2", "--blocks", "1"]
    assert bench("run", "--graph", f"{name}:make", *few, "-o", "out").exit_code == 0
    with Path(f"{name}.py").open("a") as file:
        file.write("# changed\n")
    result = bench("run", "--resume", "out", "--blocks", "2")
    assert result.exit_code == 2
    assert "has changed since the run was started; start a new run" in result.output
    assert len(read_results(Path("out")).measurements) == 2


def test_a_dry_run_runs_none_of_its_tasks(module: Callable[[str], str]) -> None:
    name = module("own_dry")
    result = bench("run", "--graph", f"{name}:fails", "--dry-run")
    assert result.exit_code == 0
    assert "time not known: it has not run yet" in result.output


def test_a_change_in_the_code_is_compared_in_one_line(module: Callable[[str], str]) -> None:
    name = module("own_before")
    few = ["--backends", "threads", "--max-workers", "3", "--blocks", "5"]
    assert bench("run", "--graph", f"{name}:make", *few, "-o", "old").exit_code == 0
    lines = Path("old", "results.jsonl").read_text().splitlines()
    slower = []
    for line in lines:
        content = json.loads(line)
        if "run" in content:
            content["run"]["wall_s"] *= 2
        slower.append(json.dumps(content) + "\n")
    Path("new").mkdir()
    Path("new", "results.jsonl").write_text("".join(slower))
    compared = json.loads(bench("compare", "old", "new", "--format", "json").stdout)
    assert compared["against"] == "clock"
    assert all(case["ratio"] == pytest.approx(2.0) for case in compared["cases"])


def test_a_graph_without_tasks_is_refused(module: Callable[[str], str]) -> None:
    result = bench("run", "--graph", f"{module('own_empty')}:empty")
    assert result.exit_code == 2
    assert "empty() returned a graph without tasks" in result.output


def test_a_run_is_not_continued_with_another_graph(
    module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same code may make different graphs, for example from the environment."""
    name = module("own_grown")
    with Path(f"{name}.py").open("a") as file:
        file.write(
            "def many():\n    import os\n"
            "    return Graph([Task(f't{i}', nap) for i in range(int(os.environ['TASKS']))])\n"
        )
    monkeypatch.setenv("TASKS", "2")
    few = ["--backends", "threads", "--max-workers", "2", "--blocks", "1"]
    assert bench("run", "--graph", f"{name}:many", *few, "-o", "out").exit_code == 0
    monkeypatch.setenv("TASKS", "3")
    result = bench("run", "--resume", "out", "--blocks", "2")
    assert result.exit_code == 2
    assert "the graph of own_grown:many has changed" in result.output


def test_code_that_the_module_imports_counts_as_well(module: Callable[[str], str]) -> None:
    name = module("own_outer")
    inner = module("own_inner")
    Path(f"{name}.py").write_text(f"from {inner} import make\n")
    few = ["--backends", "threads", "--max-workers", "2", "--blocks", "1"]
    assert bench("run", "--graph", f"{name}:make", *few, "-o", "out").exit_code == 0
    with Path(f"{inner}.py").open("a") as file:
        file.write("# changed\n")
    assert "has changed" in bench("run", "--resume", "out", "--blocks", "2").output


def test_tasks_that_change_the_current_folder_do_not_move_the_results(
    module: Callable[[str], str], tmp_path: Path
) -> None:
    name = module("own_moves")
    (tmp_path / "elsewhere").mkdir()
    Path(f"{name}.py").write_text(
        "import os\nfrom executors import Graph, Task\n"
        "def move():\n    os.chdir(HOME)\n"
        f"HOME = {str(tmp_path / 'elsewhere')!r}\nos.chdir(HOME)\n"
        "def make():\n    return Graph([Task('a', move), Task('b', move)])\n"
    )
    few = ["--backends", "threads", "--max-workers", "2", "--blocks", "1"]
    assert bench("run", "--graph", f"{name}:make", *few, "-o", "out").exit_code == 0
    assert (tmp_path / "out" / "report.md").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_simulated_cases_of_a_graph_whose_lengths_are_not_known(
    module: Callable[[str], str],
) -> None:
    name = module("own_simulated")
    with Path(f"{name}.py").open("a") as file:
        file.write(
            "def some():\n    naps = [Task(f'n{i}', nap) for i in range(3)]\n"
            "    return Graph([Task('n', nap, cost_s=5.0), *naps])\n"
            "def nothing():\n    return Graph([Task('a', int), Task('b', int)])\n"
        )
    few = ["--backends", "simulated", "--max-workers", "1,4", "--blocks", "1"]
    graphs = ["--graph", f"{name}:some", "--graph", f"{name}:nothing"]
    assert bench("run", *graphs, *few, "-o", "out").exit_code == 0
    runs = read_results(Path("out")).measurements
    walls = {(run.shape, run.backend, run.workers): run.wall_s for run in runs}
    alone = next(run for run in runs if run.backend == "sequential" and "some" in run.shape)
    assert walls[f"{name}:some", "simulated", 1] == pytest.approx(alone.work_s)
    assert walls[f"{name}:some", "simulated", 4] == pytest.approx(alone.work_s / 4)


def test_folders_of_the_user_stay_and_ours_go(module: Callable[[str], str]) -> None:
    name = module("own_folders")
    Path("mine").mkdir()
    assert bench("run", "--graph", f"{name}:fails", "-o", "mine").exit_code == 1
    assert Path("mine").is_dir()
    assert bench("run", "--graph", f"{name}:fails", "-o", "ours/below").exit_code == 1
    assert not Path("ours").exists()


def test_a_misspelled_function_gets_a_suggestion(module: Callable[[str], str]) -> None:
    name = module("own_misspelled")
    assert "did you mean 'make'?" in bench("run", "--graph", f"{name}:maek").output
    assert "leave out .py" in bench("run", "--graph", f"{name}.py:make").output
