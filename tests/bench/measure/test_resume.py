"""Runs that are cut off, and what goes on behind them."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.results.store import read_results
from reports import write_report

pytestmark = pytest.mark.usefixtures("undrawn")

PLAN = ["run", "--shapes", "fan-in:width=2", "--kernel", "noop,sleep:1ms", "--max-workers", "1,2"]
PLAN += ["--backends", "threads", "--blocks", "5"]


def bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "whole"
    process = start(*PLAN, "-o", folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return folder


@pytest.fixture
def cut(finished: Path, tmp_path: Path) -> Path:
    """A finished run as if it had been killed in the middle of its tenth line."""
    shutil.copytree(finished, tmp_path / "cut")
    path = tmp_path / "cut" / "results.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:9]) + whole[9][:-9])
    return tmp_path / "cut"


def page_of(folder: Path, out: Path) -> str:
    """The report of a run as if all its samples were the same, and run at the same time."""
    results = read_results(folder)
    header = {**results.header, "created_s": 0}
    header["machine"] = {**header["machine"], "load_1min": 0.0, "others_running": 0.0}
    same: dict[str, Any] = {
        "wall_s": 0.1,
        "cpu_s": 0.1,
        "start_s": 0.01,
        "memory_bytes": 1,
        "busy": [(0.1, 1.0)],
        "tasks_cpu_s": None,
    }
    measurements = tuple(replace(run, **same) for run in results.measurements)
    blank = replace(
        results, header=header, measurements=measurements, interference=(), timelines=()
    )
    return write_report(blank, out).read_text()


def lines_of(path: Path) -> list[str]:
    """The whole lines of a results file."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_a_run_killed_again_and_again_is_completed_as_if_it_never_was(
    finished: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    moments = random.Random(2)
    path = cut / "results.jsonl"
    kept: list[str] = []
    for _ in range(3):
        process = start("run", "--resume", cut) if kept else start(*PLAN, "-o", cut)
        give_up_s = time.monotonic() + 60
        while time.monotonic() < give_up_s and len(lines_of(path)) <= len(kept):
            time.sleep(0.001)
        time.sleep(moments.choice([0.0, 0.002, 0.01, 0.03]))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        lines = lines_of(path)
        assert lines[: len(kept)] == kept  # whatever was finished is intact
        assert len(lines) > len(kept)
        assert [json.loads(line) for line in lines]
        kept = lines
    assert bench("run", "--resume", cut).exit_code == 0
    ours, theirs = read_results(cut), read_results(finished)
    assert [(run.case, run.block) for run in ours.measurements] == [
        (run.case, run.block) for run in theirs.measurements
    ]
    assert ours.end == theirs.end == "complete"
    assert page_of(cut, tmp_path / "ours") == page_of(finished, tmp_path / "theirs")


def test_half_a_line_is_dropped_with_a_warning_and_measured_again(cut: Path) -> None:
    result = bench("run", "--resume", cut)
    assert result.exit_code == 0
    assert "its last line is cut off and was dropped" in result.output
    results = read_results(cut)
    assert results.is_complete
    assert len(results.measurements) == results.header["planned"]
    assert len({(run.case, run.block) for run in results.measurements}) == 30


def test_calibration_and_options_are_those_of_the_run(cut: Path) -> None:
    path = cut / "results.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"units": 0.001', '"units": 0.002'))
    assert bench("run", "--resume", cut).exit_code == 0
    later = [run for run in read_results(path).measurements if run.kernel == "sleep:1ms"][10:]
    assert all(run.work_s > 0.006 for run in later)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", "6"], "has 0 for --seed, not 6; leave the option out"),
        (["--shapes", "chain"], "has fan-in:width=2 for --shapes, not chain"),
        (["-o", "elsewhere"], "leave out -o"),
        (["--dry-run"], "leave out --resume"),
    ],
)
def test_another_configuration_is_refused(arguments: list[str], says: str, cut: Path) -> None:
    path = cut / "results.jsonl"
    before = path.read_text()
    result = bench("run", "--resume", cut, *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert len(path.read_text()) <= len(before)
    assert path.read_text() == before[: len(path.read_text())]


def test_another_machine_is_refused(cut: Path) -> None:
    path = cut / "results.jsonl"
    path.write_text(
        re.sub(r'"memory_bytes": \d+, "load', '"memory_bytes": 5, "load', path.read_text())
    )
    result = bench("run", "--resume", cut)
    assert result.exit_code == 2
    assert "started on another machine, or with other limits (memory_bytes: 5" in result.output


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    assert "to continue" in bench("run", "--resume", tmp_path).output
    (tmp_path / "results.jsonl").write_text('{"schema": 2, "cre')
    result = bench("run", "--resume", tmp_path)
    assert result.exit_code == 2
    assert "has no complete header line" in result.output


def test_a_complete_run_is_only_drawn_again(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    shutil.copytree(finished, folder)
    before = (folder / "results.jsonl").read_bytes()
    (folder / "report.md").unlink()
    result = bench("run", "--resume", folder)
    assert result.exit_code == 0
    assert "Nothing is missing" in result.output
    assert (folder / "results.jsonl").read_bytes() == before
    assert (folder / "report.md").exists()


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    first = start(*PLAN, "--blocks", "1000", "-o", folder)
    try:
        path = folder / "results.jsonl"
        give_up_s = time.monotonic() + 60
        while time.monotonic() < give_up_s and not path.exists():
            time.sleep(0.02)
        second = bench("run", "--resume", folder)
        assert second.exit_code == 2
        assert "another run is writing to" in second.output
        assert "already exists" in bench(*PLAN, "-o", folder).output
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    assert read_results(folder).warnings == ()


def test_line_ends_of_another_system_do_no_harm(cut: Path) -> None:
    """What is cut off is counted in bytes of the file, not in characters of its lines."""
    path = cut / "results.jsonl"
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    before = whole.replace(b"\n", b"\r\n") + b"\r\n"
    path.write_bytes(before)
    result = bench("run", "--resume", cut)
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(before)


def test_a_log_into_the_results_is_refused(cut: Path) -> None:
    path = cut / "results.jsonl"
    before = path.read_bytes()
    result = bench("run", "--resume", cut, "--log-file", path)
    assert result.exit_code == 2
    assert "is the results file; name another --log-file" in " ".join(result.output.split())
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value"),
    [("shapes", 0), ("budget", 1), ("precision", "x"), ("blas_threads", "2"), ("blocks", 0.5)],
)
def test_options_in_the_file_are_checked(cut: Path, option: str, value: object) -> None:
    path = cut / "results.jsonl"
    first, rest = path.read_text().split("\n", 1)
    header = json.loads(first)
    header["config"]["options"][option] = value
    path.write_text(json.dumps(header) + "\n" + rest)
    result = bench("run", "--resume", cut)
    assert result.exit_code == 2
    assert f"{option!r} of the options in the results must be" in " ".join(result.output.split())


def test_a_run_that_lacks_only_its_last_line_is_finished(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(finished, folder)
    path = folder / "results.jsonl"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert not read_results(path).is_complete
    assert bench("run", "--resume", folder).exit_code == 0
    assert path.read_text() == whole


def test_a_workflow_keeps_the_name_that_it_had_in_the_results(tmp_path: Path) -> None:
    """Earlier versions called workflows after their files."""
    file = tmp_path / "of-the-file.json"
    tasks = [{"id": "a", "name": "a", "parents": []}, {"id": "b", "name": "b", "parents": ["a"]}]
    content = {
        "name": "of its own",
        "schemaVersion": "1.5",
        "workflow": {"specification": {"tasks": tasks}},
    }
    file.write_text(json.dumps(content))
    few = ["--kernel", "noop", "--backends", "threads", "--max-workers", "2", "--blocks", "1"]
    out = tmp_path / "out"
    assert bench("run", "--workflow", file, *few, "-o", out).exit_code == 0
    path = out / "results.jsonl"
    text = path.read_text()
    assert {run.shape for run in read_results(path).measurements} == {"of-its-own"}
    path.write_text(text.replace("of-its-own", "of-the-file"))
    assert bench("run", "--resume", out, "--blocks", "2").exit_code == 0
    assert {run.shape for run in read_results(path).measurements} == {"of-the-file"}
    assert len(read_results(path).measurements) == 4


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"extended": {"blocks": -5}}', "blocks is out of range: -5"),
        ('{"extended": {"blocks": "x"}}', "'blocks' of the extension must be"),
        ('{"extended": 3}', "the extension must be an object"),
    ],
)
def test_a_broken_extension_is_refused(
    finished: Path, tmp_path: Path, line: str, says: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(finished, folder)
    with (folder / "results.jsonl").open("a") as file:
        file.write(line + "\n")
    result = bench("report", folder)
    assert result.exit_code == 2
    assert says in result.output


def test_unknown_words_of_a_later_version_do_no_harm_to_an_extension(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    shutil.copytree(finished, folder)
    with (folder / "results.jsonl").open("a") as file:
        file.write('{"extended": {"blocks": 6, "foo": 1}}\n')
    results = read_results(folder)
    assert not results.is_complete
    assert results.header["config"]["blocks"] == 6
