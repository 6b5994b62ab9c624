"""Comparisons of runs whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import bench.analysis.estimates
from bench import BenchError
from bench.analysis.comparison import compare, verdict_on
from bench.analysis.estimates import Estimate, ratio
from bench.cli import main
from bench.results.store import read_results
from bench.workloads.own_graphs import OWN_TASKS
from tests.bench.results.written import TYPICAL, write


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write(tmp_path / "old", TYPICAL, blocks=10)


def slower_threads(folder: Path, factor: float, drift: float = 1.0) -> Path:
    times = {
        case: wall_s * drift * (factor if case[2:] == ("threads", 2) else 1.0)
        for case, wall_s in TYPICAL.items()
    }
    return write(folder, times, blocks=10, seed=2)


def test_what_got_slower_is_found_and_the_exit_code_tells(old: Path, tmp_path: Path) -> None:
    new = slower_threads(tmp_path / "new", 1.2)
    result = command(old, new)
    assert result.exit_code == 3
    slower = [line for line in result.output.splitlines() if line.endswith("slower")]
    assert len(slower) == 4  # the last words of the legend, and three cases
    assert all(line.startswith("  threads          2   1.") for line in slower[1:])
    assert "Of 8 cases: 3 slower, 5 same." in result.output
    assert "OLD: Clean" in result.output
    back = command(new, old)
    assert back.exit_code == 0
    assert "3 faster" in back.output


def unusable(folder: Path, factor: float = 1.0) -> Path:
    path = slower_threads(folder, factor)
    text = path.read_text().replace('"others_running": 0.0', '"others_running": 9.0')
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("fail_on", "slower", "same", "undecided", "disturbed"),
    [
        ((), 3, 0, 4, 4),
        (("--fail-on", "regression"), 3, 0, 0, 0),
        (("--fail-on", "inconclusive"), 0, 0, 4, 4),
        (("--fail-on", "unusable"), 0, 0, 0, 4),
        (("--fail-on", "regression,inconclusive,unusable"), 3, 0, 4, 4),
        (("--fail-on", "never"), 0, 0, 0, 0),
    ],
)
def test_the_gate_fails_on_what_was_asked_for(
    fail_on: tuple[str, ...],
    slower: int,
    same: int,
    undecided: int,
    disturbed: int,
    old: Path,
    tmp_path: Path,
) -> None:
    few = write(tmp_path / "few", TYPICAL, blocks=3)
    for new, code in (
        (slower_threads(tmp_path / "slower", 1.2), slower),
        (old, same),
        (few, undecided),  # no intervals: nothing can be said
        (unusable(tmp_path / "unusable", 1.2), disturbed),
    ):
        assert command(old, new, *fail_on, "-q").exit_code == code, new


def test_nothing_is_called_faster_or_slower_on_unusable_data(old: Path, tmp_path: Path) -> None:
    content = json.loads(command(old, unusable(tmp_path / "u", 0.5), "--format", "json").output)
    assert (
        content["finding"] == "Cannot tell: the new run is unusable, so every case is inconclusive."
    )
    assert content["counts"]["inconclusive"] == 8
    assert content["counts"]["faster"] == content["counts"]["slower"] == 0


def test_json_has_times_counts_and_intervals(old: Path) -> None:
    (first, *_) = json.loads(command(old, old, "--format", "json").output)["cases"]
    assert first["old"] == first["new"] == {"runs": 10, "median_s": pytest.approx(0.2, rel=0.02)}
    assert first["low"] <= first["ratio"] == 1.0 <= first["high"]


def test_quiet_prints_one_sentence(old: Path) -> None:
    assert command(old, old, "-q").output == "Of 8 cases: 8 same.\n"


@pytest.mark.parametrize(
    ("reasons", "says"),
    [("regresion", "did you mean 'regression'?"), ("never,unusable", "cannot be combined")],
)
def test_unknown_reasons_to_fail_are_refused(old: Path, reasons: str, says: str) -> None:
    result = command(old, old, "--fail-on", reasons)
    assert result.exit_code == 2
    assert says in result.output


def test_graphs_of_ones_own_are_compared_by_the_clock(tmp_path: Path) -> None:
    """A change in their code changes the baseline as well, so ratios to it would hide it."""
    times = {
        ("etl:make", OWN_TASKS, "sequential", 1): 1.0,
        ("etl:make", OWN_TASKS, "threads", 2): 0.5,
        **TYPICAL,
    }
    slower = {case: wall_s * (1.2 if case[1] == OWN_TASKS else 1) for case, wall_s in times.items()}
    before = write(tmp_path / "before", times, blocks=10)
    after = write(tmp_path / "after", slower, blocks=10, seed=2)
    comparison = compare(read_results(before), read_results(after))
    assert {str(change.case) for change in comparison.of("slower")} == {
        "etl:make, sequential",
        "etl:make, threads with 2",
    }
    assert comparison.against == "baseline and clock"
    ratios = compare(read_results(before), read_results(after), against="baseline")
    assert not ratios.of("slower")


def test_force_is_offered_only_where_it_helps(old: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {("ring", "noop", "sequential", 1): 1.0})
    other.write_text(other.read_text().replace('"cpu": "a | b"', '"cpu": "another"'))
    result = command(old, other)
    assert "no case is in both files" in result.output
    assert "--force" not in result.output


def test_runs_of_other_cases_are_comparable_where_they_overlap(old: Path, tmp_path: Path) -> None:
    chain = {case: wall_s for case, wall_s in TYPICAL.items() if case[0] == "chain"}
    new = write(tmp_path / "new", chain, blocks=10)
    new.write_text(new.read_text().replace('"options": {}', '"options": {"shapes": "chain"}'))
    result = command(old, new)
    assert result.exit_code == 0
    assert "only in OLD: fan-in, sleep:20ms, threads with 2" in result.output


def test_a_machine_that_drifted_between_the_runs_is_no_change(old: Path, tmp_path: Path) -> None:
    new = slower_threads(tmp_path / "new", 1.0, drift=1.3)
    comparison = compare(read_results(old), read_results(new))
    assert [change.verdict for change in comparison.changes].count("same") == 8
    yardsticks = comparison.of("yardstick")
    assert len(yardsticks) == 4
    assert all(change.ratio.value == pytest.approx(1.3, rel=0.02) for change in yardsticks)
    clock = compare(read_results(old), read_results(new), against="clock")
    assert {change.verdict for change in clock.changes} == {"slower"}


def test_against_the_clock_other_units_of_work_are_taken_into_account(
    old: Path, tmp_path: Path
) -> None:
    new = slower_threads(tmp_path / "new", 1.0, drift=1.3)
    new.write_text(new.read_text().replace('"units": 7', '"units": 9.1'))
    comparison = compare(read_results(old), read_results(new), against="clock")
    assert {change.verdict for change in comparison.changes} == {"same"}


@pytest.mark.parametrize(
    ("estimate", "verdict"),
    [
        (Estimate(1.1, 1.04, 1.2), "slower"),
        (Estimate(0.9, 0.85, 0.95), "faster"),
        (Estimate(1.01, 0.98, 1.04), "same"),
        (Estimate(1.04, 1.01, 1.07), "inconclusive"),  # surely slower, but not by much
        (Estimate(1.1, 0.98, 1.2), "inconclusive"),
        (Estimate(1.5, None, None), "inconclusive"),
    ],
)
def test_a_verdict_follows_from_the_interval_and_the_threshold(
    estimate: Estimate, verdict: str
) -> None:
    assert verdict_on(estimate, 0.05) == verdict


def test_other_machines_and_configurations_are_refused_unless_forced(
    old: Path, tmp_path: Path
) -> None:
    new = slower_threads(tmp_path / "new", 1.0)
    new.write_text(
        new.read_text()
        .replace('"cpu": "a | b"', '"cpu": "another"')
        .replace('"options": {}', '"options": {"blas_threads": 4}')
    )
    result = command(old, new)
    assert result.exit_code == 2
    words = " ".join(result.output.split())
    assert "cpu was a | b and is another; --blas-threads was the default, now 4" in words
    assert "--force" in words
    forced = command(old, new, "--force")
    assert forced.exit_code == 0
    assert "Warning: cpu was a | b and is another" in forced.output


def test_cases_of_one_run_only_are_named(old: Path, tmp_path: Path) -> None:
    fewer = {case: wall_s for case, wall_s in TYPICAL.items() if case[2] != "processes"}
    new = write(tmp_path / "new", fewer, blocks=10)
    assert "only in OLD: fan-in, sleep:20ms, processes with 8" in command(old, new).output
    none = write(tmp_path / "none", {("ring", "noop", "sequential", 1): 1.0})
    with pytest.raises(BenchError, match="no case is in both files"):
        compare(read_results(old), read_results(none), force=True)


def test_json_markdown_and_the_forest_plot_say_the_same(old: Path, tmp_path: Path) -> None:
    new = slower_threads(tmp_path / "new", 1.2)
    content = json.loads(command(old, new, "--format", "json", "-o", tmp_path / "out").output)
    assert content["finding"] == "Of 8 cases: 3 slower, 5 same."
    slower = [case for case in content["cases"] if case["verdict"] == "slower"]
    assert {(case["backend"], case["workers"]) for case in slower} == {("threads", 2)}
    assert all(1 < case["low"] < case["ratio"] < case["high"] for case in slower)
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == content
    page = (tmp_path / "out" / "compare.md").read_text()
    text = command(old, new, "--format", "markdown").output
    assert "**Of 8 cases: 3 slower, 5 same.**" in page
    assert "![Forest plot" in page
    assert set(text.splitlines()) <= set(page.splitlines())
    svg = (tmp_path / "out" / "compare.svg").read_text()
    assert "fan-in, sleep:20ms<" in svg
    assert svg.count("threads with 2<") == 3  # once in each group that has it
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("threshold", ["0", "1", "-0.1"])
def test_a_threshold_is_a_part(old: Path, threshold: str) -> None:
    result = command(old, old, "--threshold", threshold)
    assert result.exit_code == 2
    assert "must be between 0 and 1" in result.output


# -- how often it is right ----------------------------------------------------------------------


class Runs:
    """Simulated runs of a baseline and a case with 3 % noise, measured in the same blocks."""

    def __init__(self, seed: int, blocks: int) -> None:
        self._random = np.random.default_rng(seed)
        self._blocks = blocks

    def run(self, factor: float, drift: float) -> tuple[list[float], list[float]]:
        """Times of both; the machine's speed changes by `drift` during the run, and between runs
        by half of it."""
        up = self._random.choice([-1, 1])
        speed = 1 + up * drift * np.arange(self._blocks) / (self._blocks - 1)
        speed *= 1 + self._random.uniform(-drift / 2, drift / 2)
        return list(speed * self._noise()), list(speed * self._noise() * factor)

    def _noise(self) -> np.ndarray:
        noise = self._random.lognormal(0, 0.03, self._blocks)
        return np.where(self._random.random(self._blocks) < 0.05, 1.15, 1.0) * noise

    def verdict(self, factor: float, drift: float) -> str:
        (base_old, old), (base_new, new) = self.run(1.0, drift), self.run(factor, drift)
        return verdict_on(ratio([new, base_old], [old, base_new]), 0.05)


@pytest.mark.parametrize("blocks", [5, 7, 10, 20])
def test_at_most_5_percent_of_false_alarms_where_the_machine_drifts_by_10(
    blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.analysis.estimates, "RESAMPLES", 1000)
    runs = Runs(blocks, blocks)
    verdicts = [runs.verdict(1.0, drift=0.1) for _ in range(500)]
    assert sum(verdict in ("slower", "faster") for verdict in verdicts) <= 25


def test_a_slowdown_of_10_percent_is_found_in_90_percent_of_the_cases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench.analysis.estimates, "RESAMPLES", 1000)
    runs = Runs(1, 10)
    detected = sum(runs.verdict(1.1, drift=0.0) == "slower" for _ in range(2000))
    assert detected >= 1800
