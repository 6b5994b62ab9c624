"""The examination of this machine, and of faked ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.machine import doctor
from bench.machine.doctor import Fact, examine
from executors.cpus import CpuBudget

ZENML: tuple[str, ...] = ("executors.zenml needs ZenML",)
if find_spec("zenml"):
    ZENML = ("not set up yet in", "bench zenml install")


def facts(listed: list[Fact]) -> dict[str, Fact]:
    return {fact.name: fact for fact in listed}


@pytest.mark.parametrize(
    ("budget", "limits", "says"),
    [
        (CpuBudget(2, 2, None, None), {}, "2, all that are installed"),
        (CpuBudget(64, 8, None, None), {}, "8, because of the affinity"),
        (CpuBudget(64, 64, 1.5, None), {Path("/g"): 1.5}, "2, because of the quota"),
        (CpuBudget(64, 64, 1.5, 16), {Path("/g"): 1.5}, "16, set by EXECUTOR_BENCH_CPUS"),
    ],
)
def test_it_says_which_limit_decides(
    budget: CpuBudget, limits: dict[Path, float], says: str
) -> None:
    by_name = facts(list(doctor._cpus(budget, limits)))
    assert by_name["usable"].value == says
    if limits:
        assert by_name["cgroup quota"].value == "1.5 CPUs, set by /g"
    too_many = "start 64 workers here" in by_name["usable"].advice
    assert too_many is (budget.override is None and budget.usable < 64 and budget.installed == 64)


def test_quotas_are_shown_with_the_group_that_sets_them(tmp_path: Path) -> None:
    for path, text in (
        ("proc/self/cgroup", "0::/a/b\n"),
        ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    examination = examine(tmp_path)
    shown = [fact.value for fact in (next(examination) for _ in range(6))]
    assert f"1.5 CPUs, set by {tmp_path}/sys/fs/cgroup/a" in shown
    assert f"4 CPUs, set by {tmp_path}/sys/fs/cgroup/a/b" in shown


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_under_an_affinity_of_one_cpu_there_is_no_ceiling_to_measure(tmp_path: Path) -> None:
    script = (
        "import os, runpy, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "sys.argv = ['bench', 'doctor', '--format', 'json']\n"
        "runpy.run_module('bench', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ZENML_CONFIG_PATH": str(tmp_path / "none")},
    )
    by_name = {fact["name"]: fact["value"] for fact in json.loads(done.stdout)}
    assert by_name["affinity"].startswith("1 ")
    assert by_name["usable"].startswith("1, ")
    assert by_name["measured ceiling"] == "1: there is one CPU"


def test_everything_is_shown_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "zenml"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0, result.output
    for words in (
        "measured ceiling",
        "runnable now",
        "pressure",
        "GIL",
        "start by spawn",
        "process backend",
        "BLAS threads",
        *ZENML,
    ):
        assert words in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec("zenml") is None, reason="ZenML is not installed")
def test_a_store_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("x")
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "ZENML_SCRIPT", "raise SystemExit('the store is on fire')")
    (fact,) = doctor._zenml()
    assert fact.value == "cannot be used: the store is on fire"
    monkeypatch.setattr(doctor, "ZENML_SCRIPT", "print('= local_threaded: not registered')")
    first, _ = doctor._zenml()
    assert first.advice == "Register it with: bench zenml install"
