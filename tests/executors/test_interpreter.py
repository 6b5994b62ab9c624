"""Fresh interpreters, also where the current folder was deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from executors.interpreter import current_folder, import_path

ROOT = Path(__file__).parents[2]
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
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in process.stderr
    assert says in process.stdout + process.stderr
