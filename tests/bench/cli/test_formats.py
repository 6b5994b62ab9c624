"""`--format json` of every command, and output with names of any length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bench.cli import main
from tests.available import POOLS
from tests.bench.results.written import TYPICAL, write

LONG = "futures-over-another-package"
PACKAGE = """
from executors.backends.sequential import Sequential
class Mine(Sequential):
    name = "futures-over-another-package"
"""


def answer(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 4), result.output
    return json.loads(result.stdout)


def test_every_command_has_the_same_option() -> None:
    for name, command in main.commands.items():
        if isinstance(command, click.Group) or name in ("export", "trace"):  # always a file format
            continue
        (option,) = [one for one in command.params if "--format" in one.opts]
        assert isinstance(option.type, click.Choice), name
        assert set(option.type.choices) >= {"text", "json"}
        assert option.default == "text"


def test_list() -> None:
    content = answer("list", "--format", "json")
    stencil = next(shape for shape in content["shapes"] if shape["name"] == "stencil")
    assert stencil["parameters"] == {"steps": 6, "width": 8}
    assert (stencil["tasks"], stencil["edges"], stencil["depth"]) == (48, 110, 6)
    assert content["backends"][0]["name"] == "sequential"
    missing = {one["name"] for one in content["backends"] if one["unavailable"] is not None}
    some = {"ray", "interpreters", "dask", "dask-threads", "dask-processes"}
    assert missing <= some  # not installed for all tests; from Python 3.14
    assert "noop" in [kernel["name"] for kernel in content["kernels"]]


def test_a_plan() -> None:
    options = ["--shapes", "chain", "--kernel", "sleep:1ms,python-cpu", "--max-workers", "2"]
    plan = answer("run", *options, "--dry-run", "--format", "json", "--blocks", "3")
    assert plan["blocks"] == 3
    assert sorted((case["kernel"], case["backend"], case["workers"]) for case in plan["cases"]) == [
        (kernel, backend, workers)
        for kernel in ("python-cpu:20ms", "sleep:1ms")
        for backend, workers in sorted([("sequential", 1), *((pool, 2) for pool in POOLS)])
    ]
    assert sum(case["expected_s"] for case in plan["cases"]) <= plan["block_s"]
    assert plan["ceilings"] == {"python-cpu:20ms": [2]}


def test_run_and_report_say_the_same(tmp_path: Path) -> None:
    options = ["--shapes", "chain:length=2", "--kernel", "noop", "--backends", "threads"]
    folder = tmp_path / "out"
    ran = answer("run", *options, "--blocks", "2", "-o", folder, "--format", "json")
    assert ran == answer("report", folder, "--format", "json")
    assert Path(ran["report"]).read_text().startswith("#")
    (group,) = ran["groups"]
    assert (group["shape"], group["kernel"], group["bound"]) == ("chain:length=2", "noop", 1.0)
    # On a busy machine it may be any of them.
    assert group["pick"] in [{key: case[key] for key in group["pick"]} for case in group["cases"]]
    assert {case["runs"] for case in group["cases"]} == {2}
    assert ran["noise"]["level"] in ("clean", "noisy", "unusable")


def test_the_numbers_of_a_report_are_those_of_its_file(tmp_path: Path) -> None:
    content = answer("report", write(tmp_path, TYPICAL), "--format", "json", "-q")
    group = content["groups"][0]
    baseline = group["cases"][0]
    assert baseline["median_s"] == pytest.approx(0.18, rel=0.01)
    assert baseline["speedup"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert content["finding"].startswith(
        "Waiting tasks: 8 threads for fan-in, sequential for chain."
    )


def test_recommend_understands_its_former_option(tmp_path: Path) -> None:
    options = ["recommend", "--results", str(write(tmp_path, TYPICAL))]
    assert answer(*options, "--json") == answer(*options, "--format", "json")
    assert "--json" not in CliRunner().invoke(main, ["recommend", "--help"]).output


@pytest.mark.usefixtures("quick")
def test_metg_takes_several_numbers_of_workers(tmp_path: Path) -> None:
    options = ["metg", "--blocks", "1", "--backends", "threads", "-q", "-o", str(tmp_path)]
    several = answer(*options, "--max-workers", "3,2", "--format", "json")
    assert [sweep["workers"] for sweep in several] == [2, 3]
    assert json.loads((tmp_path / "metg.json").read_text()) == several
    assert {path.name for path in tmp_path.glob("*.svg")} == {"metg-2.svg", "metg-3.svg"}


@pytest.mark.parametrize("numbers", ["1", "1,2", "0", "two", ""])
def test_metg_refuses_other_numbers(numbers: str) -> None:
    result = CliRunner().invoke(main, ["metg", "--max-workers", numbers])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "2" in result.output


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_help_shows_whole_summaries(width: int) -> None:
    result = CliRunner().invoke(main, ["--help"], terminal_width=width)
    text = " ".join(result.output.split())
    for command in main.commands.values():
        assert command.get_short_help_str(500) in text
    assert "..." not in text.partition("Commands:")[2]
    assert max(map(len, result.output.splitlines())) <= max(width, 50)


def test_long_names_stay_in_their_column(tmp_path: Path) -> None:
    """Those of a backend of another package, and one of a package that is broken."""
    (tmp_path / "others.py").write_text(PACKAGE)
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[executors.backends]\n{LONG} = others:Mine\nlost = others_lost:Mine\n"
    )

    def bench(*arguments: str) -> list[str]:
        script = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from bench.cli import main; main()"
        )
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    lines = bench("list")
    columns = {line.index("available") for line in lines if line.endswith(" available")}
    assert columns == {len(LONG) + 1}
    (lost,) = [line for line in lines if line.startswith("lost ")]
    assert lost[len(LONG) + 1 :].startswith("not available here: backend 'lost' (others_lost:Mine)")
    options = ["--shapes", "chain", "--kernel", "noop", "--blocks", "1", "--max-workers", "2"]
    table = [line for line in bench("run", *options) if line[2:].startswith(("futures", "thre"))]
    assert len(table) == 2
    assert len({line.index(" 2 ") for line in table}) == 1


LOUD = """
print("printed at import")
from executors.backends.sequential import Sequential
class Mine(Sequential):
    name = "mine"
"""


def package(folder: Path, code: str, entry_points: str) -> None:
    (folder / "others.py").write_text(code)
    info = folder / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[executors.backends]\n{entry_points}\n")


def beside(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command with a folder that has another package on its path."""
    script = f"import sys; sys.path.insert(0, {str(folder)!r}); import bench.cli as b; b.main()"
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["run", "--shapes", "chain", "--kernel", "noop", "--blocks", "1"],
        ["run", "--dry-run"],
    ],
    ids=" ".join,
)
def test_json_is_alone_whatever_other_packages_print(tmp_path: Path, arguments: list[str]) -> None:
    package(tmp_path, LOUD, "mine = others:Mine")
    done = beside(tmp_path, *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert "printed at import" in done.stderr


@pytest.mark.parametrize(
    ("code", "entry_point", "says"),
    [
        ("raise RuntimeError('broken')", "mine = others:Mine", "RuntimeError: broken"),
        ("import sys; sys.exit(9)", "mine = others:Mine", "SystemExit: 9"),
        ("", "mine = others:Mine", "AttributeError"),
        ("", "simulated = others:Mine", ""),
    ],
)
def test_a_package_that_is_broken_breaks_nothing(
    tmp_path: Path, code: str, entry_point: str, says: str
) -> None:
    package(tmp_path, code, entry_point)
    done = beside(tmp_path, "list")
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert done.stdout.count("simulated") == 1
    assert beside(tmp_path, "run", "--dry-run").returncode == 0


def test_what_python_prints_at_its_start_breaks_no_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello from here')\n")
    options = ["run", "--shapes", "chain", "--kernel", "noop", "--blocks", "1", "-q", "-o", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.md").exists()


class Closed(Exception):
    """As if nobody read what is printed."""


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_was_measured_is_kept_though_nobody_reads(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: Any, **__: Any) -> None:
        raise Closed

    monkeypatch.setattr("click.echo", closed)
    options = ["--backends", "threads", "-q", "--format", form, "-o"]
    CliRunner().invoke(
        main, ["metg", "--blocks", "1", "--max-workers", "2", *options, str(tmp_path / "m")]
    )
    assert json.loads((tmp_path / "m" / "metg.json").read_text())["workers"] == 2
    arguments = ["recommend", "--shapes", "chain", "--kernel", "noop", "--no-verify", *options]
    CliRunner().invoke(main, [*map(str, arguments), str(tmp_path / "r")])
    assert json.loads((tmp_path / "r" / "recommend.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "variables", "verifies"),
    [
        ([], {}, True),
        (["--no-verify"], {}, False),
        ([], {"BENCH_RECOMMEND_NO_VERIFY": "1"}, False),
        ([], {"BENCH_RECOMMEND_NO_VERIFY": "false"}, True),
    ],
)
def test_no_verify_means_the_same_everywhere(
    arguments: list[str],
    variables: dict[str, str],
    verifies: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    options = ["--shapes", "fan-in:width=4", "--kernel", "sleep:2ms", "--backends", "threads"]
    (content,) = answer(
        "recommend", *options, *arguments, "--max-workers", "4", "-q", "--format", "json"
    )
    assert any(one["wall_s"] for one in content["candidates"]) == verifies


def test_the_command_line_names_the_source_of_a_recommendation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_RECOMMEND_RESULTS", str(write(tmp_path, TYPICAL)))
    monkeypatch.setenv("BENCH_RECOMMEND_JSON", "1")
    result = CliRunner().invoke(main, ["recommend", "--graph", "no_such_module:f"])
    assert result.exit_code == 2
    assert "no_such_module" in result.output
    result = CliRunner().invoke(main, ["recommend", "--format", "text"])
    assert result.exit_code == 0
    assert not result.output.startswith("[")
