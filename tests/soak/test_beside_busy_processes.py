"""Verdicts and recommendations while other programs use all CPUs: real, so it takes its time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.analysis.steadiness import judge
from bench.cli import main
from bench.results.store import read_results
from executors import usable_cpus
from tests.bench.machine.test_counters import busy_processes

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat"),
]


def test_with_two_busy_processes_beside_it_a_run_is_not_called_clean(tmp_path: Path) -> None:
    options = ["--shapes", "fan-in:width=4", "--kernel", "native-cpu:2ms", "--blocks", "5"]
    options += ["--backends", "threads", "--max-workers", "2", "-o", str(tmp_path / "out")]
    with busy_processes(2 * usable_cpus()):
        result = CliRunner().invoke(main, ["run", "--strict", *options])
    assert result.exit_code == 4, result.output
    verdict = judge(read_results(tmp_path / "out"))
    assert {"load", "foreign CPU"} <= {reason.what for reason in verdict.reasons}
    page = (tmp_path / "out" / "report.md").read_text()
    assert page.index(str(verdict)) < page.index("## ")


def test_a_recommendation_is_not_confidently_wrong() -> None:
    """Python code in a fan: processes are right; sequential if little was to gain meanwhile."""
    options = ["--shapes", "fan-in:width=16", "--kernel", "python-cpu:5ms", "--json"]
    with busy_processes(2 * usable_cpus()):
        result = CliRunner().invoke(main, ["recommend", *options])
    (content,) = json.loads(result.output)
    assert content["noise"]["level"] != "clean"
    if result.exit_code == 0:
        assert content["pick"]["backend"] in ("processes", "sequential")
        assert content["pick"]["backend"] == "processes" or content["regret"] <= 0.2
    else:
        assert (result.exit_code, content["pick"]) == (4, None)
        assert "too noisy" in content["reason"] or "told apart" in content["reason"]
