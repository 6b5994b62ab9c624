"""Projects that have packages named `executors`, `bench` or `reports`, which are common names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TASKS = """
import time
from executors import Graph, Task

def nap(*_):
    from {package} import DELAY_S
    time.sleep(DELAY_S)

def make_graph():
    return Graph([Task(f"part{{i}}", nap) for i in range(4)])
"""
RUN_GRAPH = """
import sys
import bench.cli
from bench.workloads.own_graphs import load_graph
from executors import load_backend, run
report = run(load_graph(sys.argv[1]).graph, load_backend("processes", 1))
report.raise_for_failures()
import reports
print(len(report.tasks), reports.__file__)
"""
BENCH = [sys.executable, "-m", "bench"]


def project(folder: Path, package: str, init: str = "") -> None:
    """A project with its own package: a helper, and tasks that use it."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(init)
    (folder / package / "delays.py").write_text("SHORT_S = 0.001\n")
    (folder / package / "my_tasks.py").write_text(TASKS.format(package=package))
    (folder / "tasks_outside.py").write_text(
        "import time\n"
        + TASKS.format(package="time").replace("from time import DELAY_S", "DELAY_S = 0.001")
    )


def ran(folder: Path, *command: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder; ours is installed, which `-P` and PYTHONPATH imitate."""
    paths = [str(entry) for entry in (path, ROOT) if entry is not None]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("package", ["executors", "bench", "reports"])
def test_a_graph_beside_such_a_package(tmp_path: Path, package: str) -> None:
    project(tmp_path, package)
    done = ran(tmp_path, sys.executable, "-c", RUN_GRAPH, "tasks_outside:make_graph")
    assert done.stdout.split() == ["4", str(ROOT / "reports" / "__init__.py")], done.stderr


@pytest.mark.parametrize("package", ["executors", "bench", "reports"])
def test_a_graph_in_such_a_package(tmp_path: Path, package: str) -> None:
    """The tasks also use what its `__init__` has and imports, in the program and in workers."""
    project(tmp_path, package, "from .delays import SHORT_S\nDELAY_S = 2 * SHORT_S\n")
    done = ran(tmp_path, sys.executable, "-c", RUN_GRAPH, f"{package}.my_tasks:make_graph")
    assert done.stdout.split() == ["4", str(ROOT / "reports" / "__init__.py")], done.stderr


def test_recommend_works_beside_all_of_them(tmp_path: Path) -> None:
    for package in ("executors", "bench"):
        project(tmp_path, package)
    arguments = [
        "recommend",
        "--no-verify",
        "-q",
        "-o",
        "out",
        "--graph",
        "bench.my_tasks:make_graph",
    ]
    (tmp_path / "bench" / "__init__.py").write_text("DELAY_S = 0.001\n")
    done = ran(tmp_path, *BENCH, *arguments)
    assert done.returncode in (0, 4), done.stderr  # 4: it cannot tell
    assert (tmp_path / "out" / "recommend.svg").exists()


def test_a_package_of_executors_on_the_path_does_not_break_the_command(tmp_path: Path) -> None:
    project(tmp_path, "executors")
    project_of_reports = tmp_path / "reports"
    project_of_reports.mkdir()
    (project_of_reports / "__init__.py").write_text("raise SystemExit('not this one')\n")
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); import bench.cli; bench.cli.main()"
    arguments = ["run", "--shapes", "chain", "--kernel", "noop", "--blocks", "1", "-q", "-o", "out"]
    first = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.modules.pop('executors', 0)\n"
    done = ran(tmp_path, sys.executable, "-c", first + script, str(ROOT / "nowhere"), *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.md").exists()


PROGRAM = """
from executors import Graph, Task, load_backend, run
import sys
sys.path.insert(0, {folder!r})
import bench, bench.delays

def where():
    import bench, bench.delays, reports
    return bench.__file__, bench.delays.SHORT_S, reports.__file__

with load_backend("processes", 1) as backend:
    there = run(Graph([Task("a", where), Task("b", bench.act)]), backend).values
print("same" if there == {{"a": where(), "b": "mine"}} else (there, where()))
"""


def test_a_program_with_its_own_packages_has_them_in_its_workers(tmp_path: Path) -> None:
    project(tmp_path, "bench", "def act():\n    return 'mine'\n")
    project(tmp_path, "reports")
    (tmp_path / "executors").mkdir()
    (tmp_path / "executors" / "__init__.py").write_text("raise SystemExit('not this one')\n")
    done = ran(tmp_path, sys.executable, "-c", PROGRAM.format(folder=str(tmp_path)))
    assert done.stdout.strip() == "same", done.stderr


def test_a_single_module_of_such_a_name(tmp_path: Path) -> None:
    (tmp_path / "bench.py").write_text(TASKS.format(package="bench") + "\nDELAY_S = 0.001\n")
    done = ran(tmp_path, sys.executable, "-c", RUN_GRAPH, "bench:make_graph")
    assert done.stdout.split()[:1] == ["4"], done.stderr


def test_what_neither_package_has_is_an_ordinary_error(tmp_path: Path) -> None:
    project(tmp_path, "bench", "def act():\n    return 'mine'\n")
    for statement, says in {
        "import bench.nothing": "No module named 'bench.nothing'",
        "from bench import nothing": "cannot import name 'nothing' from 'bench'",
        "import bench; bench.nothing": "module 'bench' has no attribute 'nothing'",
        "from executors import nothing": "cannot import name 'nothing' from 'executors'",
        "from reports import nothing": "cannot import name 'nothing' from 'reports'",
    }.items():
        script = f"import sys, bench.cli; sys.path.insert(0, '.')\n{statement}"
        done = ran(tmp_path, sys.executable, "-c", script)
        assert says in done.stderr
        assert done.returncode == 1
