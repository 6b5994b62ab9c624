"""What the documentation shows, run as it stands there."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import executors
from bench.cli import main
from bench.results.store import read_results
from executors import errors
from reports import write_report
from tests.pages import PAGES, PROCESSES_PAGE, ROOT, STACKS_PAGE, ZENML_PAGE, blocks

RECORDING = ROOT / "tests" / "bench" / "workloads" / "recordings" / "alignment.json"
EXAMPLE = ROOT / "docs" / "reports" / "fan-in-diamond"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


MY_TASKS = """
from executors import Graph, Task

def make_graph():
    return Graph([Task("a", int), Task("b", int)])
"""

EXAMPLES = [
    page
    for page in PAGES
    if blocks(page, "python") and page not in (ZENML_PAGE, PROCESSES_PAGE, STACKS_PAGE)
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of this version, with timelines."""
    folder = tmp_path_factory.mktemp("docs") / "measured"
    options = ["--shapes", "diamond", "--kernel", "sleep:1ms", "--max-workers", "4"]
    CliRunner().invoke(main, ["run", *options, "--blocks", "1", "-q", "-o", str(folder)])
    return folder


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("page", EXAMPLES, ids=named)
def test_python_examples_run(
    page: Path, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(main, ["export", str(measured), "-o", "tables/"])
    needed = {"docs/many-machines.md": "distributed", "docs/other-executors.md": "dask"}
    pytest.importorskip(needed.get(named(page), "executors"))
    names: dict[str, Any] = {"__name__": "example"}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{named(page)}[{number}]", "exec"), names)


def commands() -> list[str]:
    lines = [
        line for page in PAGES for block in blocks(page, "console") for line in block.splitlines()
    ]
    shown = [line[2:] for line in lines if line.startswith("$ ")]
    parts = [part for line in shown for part in line.split(" && ") if part.startswith("bench ")]
    unique = dict.fromkeys(parts)
    # See test_page.py and test_machines_page.py.
    elsewhere = ("bench zenml ", "--stacks", "dask.address=")
    return [part for part in unique if not any(words in part for words in elsewhere)]


@pytest.mark.usefixtures("quick", "undrawn")
@pytest.mark.parametrize("command", commands())
def test_commands_run(
    command: str, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[1:]
    if arguments[0] in ("run", "metg"):
        arguments += ["--blocks", "1"]
    shutil.copy(RECORDING, "recording.json")
    if "--python" in arguments:  # one of those that are named is always found
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python3.11").symlink_to(sys.executable)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        arguments += ["--budget", "2s"] if arguments[0] == "recommend" else []
    if arguments[0] in ("compare", "export", "trace"):
        for folder in arguments[1 : 3 if arguments[0] == "compare" else 2]:
            shutil.copytree(EXAMPLE if arguments[0] == "compare" else measured, folder)
    Path("my_tasks.py").write_text(MY_TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    result = CliRunner().invoke(main, arguments)
    if "pip install 'executor-bench[dask]'" in result.output:
        pytest.skip("dask is not installed")
    cannot_tell = {4} if arguments[0] in ("recommend", "metg", "compare") else set()  # too noisy
    assert result.exit_code in {0} | cannot_tell, result.output


@pytest.mark.parametrize("page", [*PAGES, EXAMPLE / "report.md"], ids=named)
def test_links_between_the_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_option_is_in_the_documentation() -> None:
    text = " ".join(page.read_text() for page in PAGES)
    names = ("run", "report", "compare", "export", "trace", "metg", "doctor", "recommend")
    commands: list[tuple[str, ...]] = [*((name,) for name in names), ("zenml", "install")]
    options = {option for command in commands for option in _options(*command)}
    assert len(options) > 8
    short = {"--output": "`-o`", "--quiet": "`-q`"}
    assert not [option for option in options if short.get(option, option) not in text]


def _options(*command: str) -> list[str]:
    output = CliRunner().invoke(main, [*command, "--help"]).output
    return [option for option in re.findall(r"(--[a-z-]+)", output) if option != "--help"]


def _names_in_all(module: str) -> list[str]:
    """The names in `__all__` of a module, which is not imported."""
    (names,) = (
        ast.literal_eval(statement.value)
        for statement in ast.parse((ROOT / module).read_text()).body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"
    )
    return list(names)


def test_all_public_names_are_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    names = {f"executors.{name}" for name in executors.__all__ if name not in errors.__dict__}
    names |= {f"executors.zenml.{name}" for name in _names_in_all("executors/zenml/__init__.py")}
    names |= {"reports.write_report", "executors.errors"}  # that module with all of its members
    assert not [name for name in names if not re.search(rf"{name}$", text, re.MULTILINE)]


def test_the_example_report_is_what_its_results_say(tmp_path: Path) -> None:
    """Figures are drawn again, too; another matplotlib may place things a little differently."""
    results = read_results(EXAMPLE)
    page = write_report(results, tmp_path)
    assert page.read_text() == (EXAMPLE / "report.md").read_text()
    drawn = {path.name for path in tmp_path.iterdir()} | {"results.jsonl"}
    assert {path.name for path in EXAMPLE.iterdir()} == drawn
    is_same_version = version("matplotlib") == results.header["versions"]["matplotlib"]
    for figure in tmp_path.glob("*.svg"):
        ours, theirs = figure.read_text(), (EXAMPLE / figure.name).read_text()
        assert words_of(ours) == words_of(theirs)
        if is_same_version:
            assert ours == theirs
    if is_same_version:
        assert (tmp_path / "report.html").read_bytes() == (EXAMPLE / "report.html").read_bytes()


def test_what_the_page_on_reading_quotes_is_in_the_example() -> None:
    page = (ROOT / "docs" / "reading-a-report.md").read_text()
    quotes = re.findall(r"(?:^> .*\n)+", page, re.MULTILINE)
    report = " ".join((EXAMPLE / "report.md").read_text().split())
    assert len(quotes) > 8
    for quote in quotes:
        assert " ".join(quote.replace("\n> ", " ").removeprefix("> ").split()) in report


def words_of(svg: str) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", svg)


def test_the_version_is_the_same_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "(.+)"', project, re.MULTILINE)
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
