"""Functions that are sent by value keep their files and lines, with every cloudpickle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from executors import Graph, Task, run

CELL = """
def inner():
    raise ValueError("x")


def outer():
    inner()
"""


def traceback_of(action: object) -> str:
    report = run(Graph([Task("a", action)]), "processes", workers=1)  # type: ignore[arg-type]
    error = report.tasks["a"].error
    assert isinstance(error, ValueError)
    return "\n".join(error.__notes__)


@pytest.mark.parametrize("name", ["<ipython-input-1-abc>", "/tmp/ipykernel_9/123.py"])
def test_functions_of_a_notebook_keep_cell_and_line(name: str) -> None:
    cell = {"__name__": "__main__"}
    exec(compile(CELL, name, "exec"), cell)
    shown = traceback_of(cell["outer"])
    assert f'File "{name}", line 7, in outer' in shown
    assert f'File "{name}", line 3, in inner' in shown


def test_functions_of_a_script_keep_file_and_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        CELL + "\nfrom executors import Graph, Task, run\n"
        "print(*run(Graph([Task('a', outer)]), 'processes', workers=1).failures[0].error.__notes__)"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert f'File "{script}", line 7, in outer\n    inner()' in done.stdout
    assert f'File "{script}", line 3, in inner\n    raise ValueError("x")' in done.stdout
