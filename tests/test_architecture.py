"""Imports point one way, and the command line starts without the heavy packages."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("executors", "bench", "reports")
ALLOWED = {
    "executors": {"executors"},
    "bench": {"bench", "executors"},
    "reports": {"reports", "bench"},
}


def imports(file: Path) -> Iterator[str]:
    """The modules that a source file imports, at any time."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        yield from names


READ_ONLY = {
    "bench.analysis.comparison",
    "bench.granularity.metg",
    "bench.machine.noise",
    "bench.recommend.recommendation",
    "bench.results.store",
    "bench.analysis.estimates",
    "bench.analysis.summary",
}

SOURCES = [file for package in OURS for file in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    for name in imports(file):
        other = name.split(".")[0]
        if other in OURS and other not in ALLOWED[package]:
            assert "commands" in file.parts, f"{file} imports {name}"
        if other == "zenml":
            assert "zenml" in file.parent.name, f"{file} imports {name}"
        if package == "reports" and other == "bench":
            assert name in READ_ONLY
        if package == "executors" and other in ("numpy", "matplotlib", "psutil", "click"):
            raise AssertionError(f"{file} imports {name}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["list"],
        ["--version"],
        ["zenml", "install", "--help"],
        ["doctor", "--help"],
    ],
)
def test_the_command_line_starts_light(arguments: list[str]) -> None:
    script = (
        "import sys, json\n"
        "from bench.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stderr)}
    assert not loaded & {"zenml", "matplotlib", "numpy", "psutil", "cloudpickle"}


def test_importing_executors_starts_nothing() -> None:
    script = (
        "import sys, threading, executors\n"
        "assert threading.active_count() == 1\n"
        "assert not {'zenml', 'numpy', 'psutil', 'subprocess'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
