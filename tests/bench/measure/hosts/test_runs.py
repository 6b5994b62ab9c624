"""`bench run --python`: measured, reported, interrupted, continued, compared."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.results.store import read_results

PLAN = ["run", "--shapes", "fan-in:width=2", "--kernel", "python-loop:1ms", "--blocks", "5"]
PLAN += ["--max-workers", "2", "--backends", "threads,processes"]


def bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another Python: a virtual environment of this one, without packages."""
    folder = tmp_path_factory.mktemp("other") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def finished(other: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run on both, one of three being missing, and what it printed."""
    folder = tmp_path_factory.mktemp("finished") / "whole"
    pythons = f"{sys.executable},/no/such/python,{other}"
    command = [sys.executable, "-m", "bench", *PLAN, "--python", pythons, "-o", str(folder)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return folder, done.stdout


def test_every_case_is_measured_on_each_python(finished: tuple[Path, str], other: Path) -> None:
    results = read_results(finished[0])
    pythons = [sys.executable, str(other)]  # the same version twice: only the paths differ
    assert list(results.header["pythons"]) == pythons
    assert results.reference == pythons[0]
    assert {(run.backend, run.workers, run.python) for run in results.measurements} == {
        (backend, workers, python)
        for backend, workers in (("sequential", 1), ("threads", 2), ("processes", 2))
        for python in pythons
    }
    assert len(results.measurements) == 2 * 3 * 5
    assert {(loop.python, loop.block) for loop in results.ceilings} == {
        (python, block) for python in pythons for block in range(5)
    }
    assert {pool.python for pool in results.interference} == set(pythons)
    assert {line.case for line in results.timelines} == {run.case for run in results.measurements}


def test_one_that_is_missing_is_named(finished: tuple[Path, str]) -> None:
    assert "Warning: Python /no/such/python is left out: no such file" in finished[1]


def test_the_pages_have_a_column_and_the_builds(finished: tuple[Path, str], other: Path) -> None:
    page = (finished[0] / "report.md").read_text()
    titles = next(line for line in page.splitlines() if "median time" in line)
    assert titles == (
        "| backend | Python | workers | median time | speedup (95 % interval)"
        " | over its own sequential | cores busy |"
    )
    assert page.count(f"| sequential | {other} | 1 |") >= 1
    assert "## Pythons" in page
    html = (finished[0] / "report.html").read_text()
    assert "<th>Python</th>" in html and f"Python {other}" in html


def test_what_is_printed_says_what_is_compared(finished: tuple[Path, str], other: Path) -> None:
    lines = finished[1].splitlines()
    assert f" {other}" in lines
    text = " ".join(finished[1].split())
    assert f"speedup: over sequential on {sys.executable}; own: over the same Python's" in text


def test_exports_have_the_python(finished: tuple[Path, str], other: Path, tmp_path: Path) -> None:
    result = bench("export", finished[0], "-o", tmp_path / "tables")
    assert result.exit_code == 0, result.output
    csv = (tmp_path / "tables").read_text()
    assert csv.splitlines()[0].endswith(",python")
    assert str(other) in csv


def test_a_run_compares_with_itself(finished: tuple[Path, str]) -> None:
    result = bench("compare", finished[0], finished[0], "--format", "json")
    cases = json.loads(result.stdout)["cases"]
    assert len(cases) == 6 and all("python" in case for case in cases)


def cut(folder: Path, target: Path) -> Path:
    """The run as if it had been killed after nine lines."""
    shutil.copytree(folder, target)
    path = target / "results.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:9]))
    return target


def test_a_run_is_continued(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder = cut(finished[0], tmp_path / "cut")
    result = bench("run", "--resume", folder)
    assert result.exit_code == 0, result.output
    assert len(read_results(folder).measurements) == 2 * 3 * 5


def test_a_run_is_not_continued_on_another_python(
    finished: tuple[Path, str], tmp_path: Path, other: Path
) -> None:
    folder = cut(finished[0], tmp_path / "cut")
    path = folder / "results.jsonl"
    header, *rest = path.read_text().splitlines(keepends=True)
    content = json.loads(header)
    content["pythons"][str(other)]["version"] = "CPython 3.11.0"
    path.write_text(json.dumps(content) + "\n" + "".join(rest))
    result = bench("run", "--resume", folder)
    assert result.exit_code == 2
    assert f"Python {other} is not what it was (version: CPython 3.11.0, now" in result.output
    assert path.read_text() == json.dumps(content) + "\n" + "".join(rest)  # nothing is lost


def test_a_run_is_not_continued_without_one_of_its_pythons(
    finished: tuple[Path, str], tmp_path: Path, other: Path
) -> None:
    folder = cut(finished[0], tmp_path / "cut")
    moved = other.parent.parent.rename(tmp_path / "moved")
    try:
        result = bench("run", "--resume", folder)
    finally:
        moved.rename(other.parent.parent)
    assert result.exit_code == 2
    assert f"Python {other} of this run is missing (" in result.output
    assert f"no such file: {other}" in result.output
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_interrupted_run_leaves_whole_lines_and_can_be_continued(
    other: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    command = [sys.executable, "-m", "bench", *PLAN, "--python", f"{sys.executable},{other}"]
    process = subprocess.Popen(
        [*command, "-o", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    path = folder / "results.jsonl"
    while process.poll() is None and not (path.exists() and '"run"' in path.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors + output
    before = len(read_results(folder).measurements)
    assert 0 < before < 30
    result = bench("run", "--resume", folder)
    assert result.exit_code == 0, result.output
    assert len(read_results(folder).measurements) == 30


GRAPH = """
from executors import Graph, Task

def first():
    import only_there
    return only_there.VALUE

def make():
    return Graph([Task("a", first), Task("b", str, ["a"])])
"""


def test_own_graphs_use_the_packages_of_each_site(
    other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_graph.py").write_text(GRAPH)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "only_there.py").write_text(f"VALUE = {name!r}\n")
    monkeypatch.chdir(tmp_path)
    plan = ["run", "--graph", "own_graph:make", "--backends", "threads", "--blocks", "1"]
    plan += ["--max-workers", "2", "--python", f"{sys.executable},{other}"]
    sites = [f"{sys.executable}=one", f"{other}=two"]
    result = bench(*plan, "--site", sites[0], "--site", sites[1], "-o", "out")
    assert result.exit_code == 0, result.output
    results = read_results(Path("out"))
    assert len(results.measurements) == 4
    assert all("own_graph:make" in one["graphs"] for one in results.header["pythons"].values())
    refused = bench(*plan, "--site", sites[0], "-o", "refused")  # the second one lacks a package
    assert refused.exit_code == 2
    assert f"Python {other}: " in refused.output and "only_there" in refused.output
    assert not Path("refused").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--site", "3.14=/tmp"], "--site is for the Pythons that --python names"),
        (["--python", ""], "--python is empty"),
        (["--python", "3.99"], "no Python of --python can be measured; 3.99: there is no 3.99"),
        (["--python", sys.executable, "--stacks", "default"], "no effect with --python: --stacks"),
        (["--python", sys.executable, "--log-file", "x.log"], "no effect with --python: --log"),
        (["--python", sys.executable, "--backends", "thread"], "unknown backend 'thread'"),
        (["--python", sys.executable, "--max-workers", "0"], "at least 1"),
    ],
)
def test_wrong_options_get_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    out = ["-o", str(tmp_path / "out")]
    result = bench("run", "--shapes", "diamond", "--kernel", "noop", *options, *out)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_plan_names_the_python_of_each_case(other: Path) -> None:
    result = bench(*PLAN, "--python", f"{sys.executable},{other}", "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"threads on {other}" in result.stdout
    result = bench(*PLAN, "--python", f"{sys.executable},{other}", "--dry-run", "--format", "json")
    assert {case["python"] for case in json.loads(result.stdout)["cases"]} == {
        sys.executable,
        str(other),
    }
