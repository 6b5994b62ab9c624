"""`bench trace`, and the tasks of `bench export`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from tests.bench.results.written import TYPICAL, write
from tests.executors.core.test_trace import check


def bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured") / "out"
    options = ["--shapes", "diamond", "--kernel", "sleep:1ms", "--max-workers", "2"]
    options += ["--backends", "threads,processes"]
    result = bench("run", *options, "--blocks", "2", "-q", "-o", folder)
    assert result.exit_code == 0, result.output
    return folder


def test_every_case_is_a_process_of_the_trace(measured: Path, tmp_path: Path) -> None:
    result = bench("trace", measured, "-o", tmp_path / "trace.json")
    assert result.exit_code == 0
    assert "3 cases: open " in result.output
    events = check(json.loads((tmp_path / "trace.json").read_text()))
    titles = [one["args"]["name"] for one in events["M"] if one["name"] == "process_name"]
    assert sorted(titles) == [
        *("diamond, sleep:1ms, processes with 2", "diamond, sleep:1ms, sequential"),
        "diamond, sleep:1ms, threads with 2",
    ]
    assert len(events["X"]) == 3 * 4
    assert len(events["s"]) == 3 * 4


@pytest.mark.parametrize(
    ("words", "count"),
    [("threads", 1), ("Threads with 2", 1), ("diamond, 2", 2), ("sleep", 3), ("sleep:1ms", 3)],
)
def test_cases_are_chosen_by_words(measured: Path, words: str, count: int) -> None:
    result = bench("trace", measured, "--case", words)
    titles = [
        one for one in json.loads(result.stdout)["traceEvents"] if one["name"] == "process_name"
    ]
    assert len(titles) == count


def test_what_cannot_be_traced_is_one_clear_error(measured: Path, tmp_path: Path) -> None:
    assert (
        "no case has all the words of 'chain'" in bench("trace", measured, "--case", "chain").output
    )
    old = write(tmp_path, TYPICAL)
    assert "these results have no timelines" in bench("trace", old).output
    (tmp_path / "there.json").write_text("mine")
    result = bench("trace", measured, "-o", tmp_path / "there.json")
    assert "already exists and is not overwritten" in result.output
    assert (tmp_path / "there.json").read_text() == "mine"


def test_tasks_are_exported_with_their_times(measured: Path) -> None:
    rows = list(csv.DictReader(bench("export", measured, "--format", "tasks").output.splitlines()))
    assert len(rows) == 3 * 4
    for row in rows:
        times = [float(row[name]) for name in ("ready_s", "taken_s", "started_s", "ended_s")]
        assert times == sorted(times)
        assert float(row["ended_s"]) - float(row["started_s"]) >= 0.001
    assert {row["kind"] for row in rows} == {"split", "part", "join"}


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_folder_gets_both_tables(measured: Path, tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "tables"
    if not ending:
        folder.mkdir()
    result = bench("export", measured, "-o", f"{folder}{ending}")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in folder.iterdir()) == ["measurements.csv", "tasks.csv"]
    assert len((folder / "measurements.csv").read_text().splitlines()) == 1 + 3 * 2
    again = bench("export", measured, "-o", f"{folder}{ending}")
    assert again.exit_code == 2
    assert "already exists and is not overwritten" in again.output
    other = bench("export", measured, "--format", "json", "-o", f"{folder}{ending}")
    assert "is a folder, which is for --format csv" in other.output


def test_a_path_without_a_slash_is_a_file(measured: Path, tmp_path: Path) -> None:
    assert bench("export", measured, "-o", tmp_path / "samples").exit_code == 0
    assert (tmp_path / "samples").read_text().startswith("shape,kernel,")


def test_measured_results_are_enough_for_a_recommendation(measured: Path) -> None:
    result = bench("recommend", "--results", measured)
    assert result.exit_code in (0, 4), result.output
    assert "diamond" in result.output


def test_the_account_is_in_the_json_of_a_report(measured: Path) -> None:
    (group,) = json.loads(bench("report", measured, "--format", "json").stdout)["groups"]
    for case in group["cases"]:
        shares = case["account"]["shares"]
        assert sum(share["value"] for share in shares.values()) == pytest.approx(1, abs=0.01)
        product = case["account"]["parallel_efficiency"] * case["account"]["computation_scaling"]
        assert case["account"]["efficiency"] == pytest.approx(product)
    losses = [case["largest_loss"] for case in group["cases"] if case["largest_loss"]]
    assert {loss["part"] for loss in losses} <= {"graph", "handover", "edges", "waiting"}
    page = (measured / "report.md").read_text()
    assert "Where the time of the workers went" in page
    assert "| threads | 2 |" in page.partition("Where the time")[2]
