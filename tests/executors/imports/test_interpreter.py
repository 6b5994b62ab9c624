"""Fresh interpreters, also where the current folder was deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from executors import Graph, Task, load_backend, run
from executors.imports.interpreter import current_folder, import_path

ROOT = Path(__file__).parents[3]
PROGRAM = """
from executors import Graph, Task, load_backend, run
import os, sys
assert "" in sys.path
with load_backend("processes", 1) as backend:
    print(run(Graph([Task("a", lambda: 1)]), backend).values)
"""
RUN = ["run", "--shapes", "chain", "--kernel", "noop", "--max-workers", "2", "--blocks", "1", "-q"]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder that no longer exists."""
    folder = tmp_path / "deleted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()


def test_the_current_folder_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", "/a"])
    assert import_path() == [os.getcwd(), "/a"]  # noqa: PTH109


@pytest.mark.usefixtures("nowhere")
def test_a_deleted_folder_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", "/a"])
    assert current_folder() is None
    assert import_path() == ["/a"]


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-c", PROGRAM], "{'a': 1}"),
        (["-m", "bench", "list"], "fan-in"),
        (["-m", "bench", "doctor"], "spawn"),
        (["-m", "bench", "recommend", "--graph", "no_such_module:f"], "no_such_module"),
        (["-m", "bench", *RUN], "out"),
    ],
    ids=["program", "list", "doctor", "recommend", "run"],
)
def test_everything_works_in_a_deleted_folder(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    if "run" in arguments:
        arguments = [*arguments, "-o", str(tmp_path / "out")]
    if subprocess.run([sys.executable, "-c", "import socket"], capture_output=True).returncode:
        pytest.skip("this Python itself imports nothing there (3.13.0)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in process.stderr
    assert says in process.stdout + process.stderr


OPTIONS = """
import sys
sys.path.insert(0, {root!r})
from executors import Graph, Task, load_backend, run

def options():
    import sys
    names = "isolated ignore_environment no_user_site no_site dont_write_bytecode optimize".split()
    names += ["bytes_warning", "dev_mode", "utf8_mode"]
    flags = [getattr(sys.flags, name) for name in names]
    return flags, sys.warnoptions, sys._xoptions, sys.get_int_max_str_digits()

with load_backend("processes", 1) as backend:
    there = run(Graph([Task("a", options)]), backend).values["a"]
print("same" if there == options() else (options(), there))
"""


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-I"],
        ["-E", "-s"],
        ["-O"],
        ["-OO", "-B"],
        ["-b"],
        ["-bb"],
        ["-W", "error::DeprecationWarning", "-W", "ignore"],
        ["-X", "int_max_str_digits=700"],
        ["-X", "dev"],
        ["-X", "utf8=1", "-X", "name=with=equals"],
    ],
    ids=" ".join,
)
def test_a_worker_has_the_options_of_the_program(options: list[str]) -> None:
    program = OPTIONS.format(root=str(ROOT))
    command = [sys.executable, *options, "-c", program]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "same"


def test_a_worker_finds_what_the_program_finds(tmp_path: Path) -> None:
    """Also in folders with odd names, and without a trace in its environment."""
    folder = tmp_path / "a:b c;d\ne"
    folder.mkdir()
    (folder / "found_there.py").write_text("def action():\n    return 'found'\n")
    program = (
        f"import os, sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\n"
        "os.environ.pop('PYTHONPATH', None)\n"
        "import found_there\n"
        "from executors import Graph, Task, load_backend, run\n"
        "tasks = [Task('a', found_there.action), Task('b', lambda: 'PYTHONPATH' in os.environ)]\n"
        "with load_backend('processes', 1) as backend:\n"
        "    print(run(Graph(tasks), backend).values)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "{'a': 'found', 'b': False}"


def test_nothing_of_ours_is_in_the_main_module_of_a_worker() -> None:
    def names() -> list[str]:
        import __main__

        return sorted(name for name in vars(__main__) if not name.startswith("__"))

    with load_backend("processes", 1) as backend:
        report = run(Graph([Task("names", names)]), backend)
    assert report.values == {"names": []}
