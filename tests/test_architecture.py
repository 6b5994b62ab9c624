"""Imports point one way, folders stay small, and the command line starts without heavy packages.

The arrows are those that `docs/architecture.md` draws. A layer may import itself and every layer
below it; layers in braces do not import one another.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("executors", "bench", "reports")
MOST_MODULES = 10  # of a folder

# From the bottom to the top; a module belongs to the longest name that it starts with.
LAYERS: list[set[str]] = [
    {"executors.errors", "executors.imports", "executors.spelling", "executors.durations"},
    {"executors.dask_graphs"},
    {"executors.core", "executors.contention", "executors.cpus", "executors.gate"}
    | {"executors.backends.meter", "executors.backends.room"},
    {"executors.pickling"},
    {"executors.backends.base", "executors.observers", "executors.imports.named"},
    {"executors.backends.workers", "executors.engines"},
    {"executors.backends"},
    {"executors.runner", "executors.logs"},
    {"executors"},
    {"executors.zenml.errors", "executors.zenml.config"},
    {"executors.zenml.store"},
    {"executors.zenml.process"},
    {"executors.zenml.graph", "executors.zenml.outcome", "executors.zenml.launch"},
    {"executors.zenml.steps", "executors.zenml.dynamic"},
    {"executors.zenml.orchestrator"},
    {"executors.zenml.flavor", "executors.zenml.stacks"},
    {"executors.zenml.install", "executors.zenml"},
    {"bench"},
    {"bench.workloads"},
    {"bench.machine"},
    {"bench.results"},
    {"bench.analysis", "bench.predict"},
    {"bench.measure", "bench.recommend", "bench.granularity"},
    {"reports"},
    {"bench.terminal"},
    {"bench.commands"},
    {"bench.cli"},
    {"bench.__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# What reports may read of `bench`: results, what is judged from them, and data to draw.
DRAWN = (
    "bench.results",
    "bench.analysis",
    "bench.granularity.crossings",
    "bench.recommend.recommendation",
    "bench.workloads.duration",
    "bench.workloads.payload",
)

# Which of the packages that take long to load each package of ours may import.
HEAVY = {"numpy", "matplotlib", "jinja2", "psutil", "click", "zenml", "pydantic"}
MAY_IMPORT = {
    "executors": set[str](),
    "executors.zenml": {"zenml", "pydantic"},
    "bench": {"numpy", "psutil", "click"},
    "bench.cli": {"click"},
    "reports": {"numpy", "matplotlib", "jinja2"},
}


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_of(file): file for package in OURS for file in sorted((ROOT / package).rglob("*.py"))
}


def imports(file: Path) -> Iterator[str]:
    """The modules that a source file imports, at any time; those of ours as files."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in SOURCES else node.module


def longest(module: str, names: object) -> str:
    """The longest of the names that a module is, or lies in."""
    while module not in names:  # type: ignore[operator]
        module = module.rpartition(".")[0]
    return module


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_down(module: str) -> None:
    layer = longest(module, LEVEL)
    for name in imports(SOURCES[module]):
        if name.split(".")[0] not in OURS:
            continue
        other = longest(name, LEVEL)
        assert layer == other or LEVEL[other] < LEVEL[layer], f"{module} imports {name}"


def test_no_imports_go_in_a_circle() -> None:
    arrows = {
        module: {name for name in imports(file) if name in SOURCES and name != module}
        for module, file in SOURCES.items()
    }
    tuple(TopologicalSorter(arrows).static_order())  # raises CycleError


@pytest.mark.parametrize("module", [module for module in SOURCES if module.startswith("reports")])
def test_reports_draw_and_run_nothing(module: str) -> None:
    for name in imports(SOURCES[module]):
        assert not name.startswith("executors"), f"{module} imports {name}"
        if name.startswith("bench") and name != "bench":
            assert name.startswith(DRAWN), f"{module} imports {name}"


@pytest.mark.parametrize("module", SOURCES)
def test_only_the_commands_draw(module: str) -> None:
    draws = any(name.startswith("reports") for name in imports(SOURCES[module]))
    assert not draws or module.startswith(("bench.commands.", "reports"))


@pytest.mark.parametrize("module", SOURCES)
def test_heavy_packages_are_imported_where_they_belong(module: str) -> None:
    allowed = MAY_IMPORT[longest(module, MAY_IMPORT)]
    for name in imports(SOURCES[module]):
        package = name.split(".")[0]
        assert package not in HEAVY - allowed, f"{module} imports {name}"


def test_no_folder_is_crowded() -> None:
    for folder in {file.parent for file in SOURCES.values()}:
        modules = [file.name for file in folder.glob("*.py") if not file.name.startswith("__")]
        assert len(modules) <= MOST_MODULES, f"{folder} has {len(modules)} modules"


def test_the_layers_are_those_that_exist() -> None:
    modules = {name for module in SOURCES for name in (module, module.rpartition(".")[0])}
    assert set(LEVEL) <= modules


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


def test_free_threaded_builds_get_every_dependency_but_zenml() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    others = [one for one in project["project"]["dependencies"] if not one.startswith("zenml")]
    assert project["dependency-groups"]["free-threaded"] == others
