"""What a program has in its `__main__`, or in modules without a name for workers, on processes.

`program.py` runs the actions on threads and on processes, started in each way that there is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.executors.pickling.program import ACTIONS, OF_A_FILE

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("program.py")
WAYS = {
    "file": [str(PROGRAM)],
    "module": ["-m", "tests.executors.pickling.program"],
    "text": ["-c", PROGRAM.read_text()],
}
REFUSED = {
    "only by its name": "__main__.MISSING, which a worker process cannot import; define it in a"
    " module that the program imports",
    "by hand, the module": "module 'by_hand' cannot be imported in a worker process; use its"
    " functions, not the module itself",
    "an enum with its own members": "makes its members in its own way, so it cannot be sent; define"
    " it in a module that the program imports",
    "a view": "cannot be sent; send bytes(view)",
    "an open file": "cannot be sent; open it in the action",
}
OF_MODULES = [
    "plugin",
    "plugin's module",
    "plugin's state",
    "plugin's cache",
    "plugin pickles",
    "plugin makes",
    "plugin raises",
    "package",
    "package's submodule",
    "by hand",
    "by hand, pickles",
    "first of two",
]


@pytest.fixture(scope="module", params=WAYS)
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Outcomes by name of the action, on threads and processes; and those between workers."""
    command = [sys.executable, *WAYS[request.param], str(tmp_path_factory.mktemp("modules"))]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [*ACTIONS, *OF_A_FILE, *OF_MODULES])
def test_an_action_gives_the_same_on_threads_and_processes(outcomes: Any, name: str) -> None:
    if name in REFUSED or name not in outcomes[0]:
        pytest.skip("a program without a file has no main module that could be imported")
    threads, processes = outcomes[0][name]
    assert processes == threads
    assert "Error: " not in threads


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_only_a_name_is_refused_with_advice(outcomes: Any, name: str) -> None:
    assert outcomes[0][name][1].startswith(f"NotPicklable: task {name!r}")
    assert outcomes[0][name][1].endswith(REFUSED[name])


def test_other_workers_and_the_program_know_the_types_of_values(outcomes: Any) -> None:
    assert outcomes[1] == [
        [4] * 6,
        [True, True],
        3,
        16,
        [True] * 4,
        [True, True],
        [1, 1, ["MOne"]],
    ]
