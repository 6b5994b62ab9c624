"""The page about the flavor: its commands and its example, as they stand there, in a new store."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import PROCESSES_PAGE, ROOT, STACKS_PAGE, ZENML_PAGE, blocks

README = ROOT / "README.md"

DRIVER = """
import json, os, subprocess, sys
from bench.cli import main
from zenml.cli.cli import cli

def python(arguments, standalone_mode):
    with open(f"{arguments[0]}.txt", "w") as said:
        subprocess.run(
            [sys.executable, *arguments],
            check=True,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1"},
        )

for command in json.loads(sys.argv[1]):
    program, *arguments = command
    try:
        {"bench": main, "zenml": cli, "python": python}[program](arguments, standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise
    except BaseException as error:
        raise RuntimeError(f"failed: {command}") from error
"""


@pytest.mark.timeout(600)  # it starts a dozen programs
def test_the_page_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "store"))
    pages = [ZENML_PAGE, README, PROCESSES_PAGE, STACKS_PAGE]
    lines = [
        line for page in pages for block in blocks(page, "console") for line in block.splitlines()
    ]
    wanted = re.compile(r"\$ (bench )?zenml |\$ bench .*--stacks")
    commands = [shlex.split(line[2:]) for line in lines if wanted.match(line)]
    for command in commands:
        if command[1] == "run":
            command += ["--blocks", "1", "--max-workers", "2", "-q"]
            if "--pipeline" not in command:
                command += ["--shapes", "fan-in:width=2", "--kernel", "sleep:10ms"]
    registering = [command for command in commands if "register" in command]
    assert len(registering) == 3
    others = [command for command in commands if command not in registering]
    examples = [
        ["zenml", "stack", "set", "threaded"],
        ["python", "fan_in.py"],
        ["zenml", "stack", "set", "process"],
        ["python", "sums.py"],
    ]
    for name, page in (
        ("training.py", STACKS_PAGE),
        ("fan_in.py", ZENML_PAGE),
        ("sums.py", PROCESSES_PAGE),
    ):
        (source,) = blocks(page, "python")
        (tmp_path / name).write_text(source)
    ordered = [*registering, *others, *examples]
    subprocess.run([sys.executable, "-c", DRIVER, json.dumps(ordered)], check=True, cwd=tmp_path)

    said = (tmp_path / "fan_in.py.txt").read_text()
    match = re.search(r"4 steps in .* s on 4 workers; .*speedup at most ([\d.]+)", said)
    assert match, said
    assert float(match[1]) > 1.2  # 3.4 s of sleep, of which 1.4 s are one after another

    said = (tmp_path / "sums.py.txt").read_text()
    assert re.search(r"3 steps in .* s on 4 workers", said), said
