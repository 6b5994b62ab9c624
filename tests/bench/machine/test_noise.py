"""Verdicts from counters with a known truth, and from this machine with real disturbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.steadiness import judge
from bench.machine.counters import Interference
from bench.machine.noise import Verdict, judge_machine
from bench.results.store import read_results
from tests.bench.results.written import TYPICAL, write


def verdict(
    folder: Path, interference: Sequence[Interference] = (), noise: float = 0.01, **machine: Any
) -> Verdict:
    path = write(folder, TYPICAL, noise=noise, others=interference)
    text = path.read_text()
    for name, value in machine.items():
        text = text.replace(f'"{name}": 0.0', f'"{name}": {value}')
    path.write_text(text)
    return judge(read_results(path))


def during(backend: str = "threads", **seconds: float) -> Interference:
    quiet = Interference(backend, 2, 0, 10.0, 0.0, 0.0, 0.0, 0.0)
    return Interference(**{**asdict(quiet), **seconds})


def test_a_quiet_machine_is_clean(tmp_path: Path) -> None:
    judged = verdict(tmp_path, [during(), during("sequential", foreign_s=-0.1)])
    assert judged.is_clean
    assert judged.level == "clean"
    assert str(judged) == "Clean: nothing else disturbed the measurements."


@pytest.mark.parametrize(
    ("interference", "level", "what", "says"),
    [
        ([during(foreign_s=2.0)], "noisy", "foreign CPU", "used 0.20 of 2 CPUs"),
        ([during(foreign_s=12.0)], "unusable", "foreign CPU", "used 1.20 of 2 CPUs"),
        ([during(steal_s=1.0)], "noisy", "steal", "took 5 % of the CPU time"),
        ([during(throttled_s=6.0)], "unusable", "throttling", "for 30 % of the CPU time"),
        ([during("sequential", stalled_s=2.0)], "noisy", "pressure", "20 % of the time"),
    ],
)
def test_what_disturbs_is_named_with_its_size(
    tmp_path: Path, interference: list[Interference], level: str, what: str, says: str
) -> None:
    judged = verdict(tmp_path, interference)
    assert (judged.level, [reason.what for reason in judged.reasons]) == (level, [what])
    assert says in str(judged)
    assert judged.reasons[0].advice in str(judged)


def test_what_a_pool_does_to_itself_is_no_pressure(tmp_path: Path) -> None:
    assert verdict(tmp_path, [during("threads", stalled_s=9.0), during("sequential")]).is_clean


def test_others_that_find_free_cpus_do_not_disturb(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, others=[during(foreign_s=20.0)])
    text = path.read_text().replace('"affinity": 2', '"affinity": 8')
    path.write_text(text.replace('"installed": 2', '"installed": 8'))
    assert judge(read_results(path)).is_clean


def test_processes_that_ran_before_are_a_reason(tmp_path: Path) -> None:
    assert verdict(tmp_path, others_running=0.2).is_clean
    judged = verdict(tmp_path / "busy", others_running=2.0)
    assert judged.reasons[0].what == "load"
    assert "2.0 other processes wanted a CPU before the run" in str(judged)


def test_an_override_above_what_is_there_is_no_noise() -> None:
    cpus = {"installed": 2, "affinity": 2, "quota": None, "override": 8, "usable": 8}
    window = Interference("sequential", 1, 0, 10.0, 0.1, 0.0, 0.0, 0.0)
    assert judge_machine({"cpus": cpus, "others_running": 0.0}, [window]).is_clean
    busy = Interference("sequential", 1, 0, 10.0, 15.0, 0.0, 0.0, 0.0)
    assert not judge_machine({"cpus": cpus, "others_running": 0.0}, [busy]).is_clean
