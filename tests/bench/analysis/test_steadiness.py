"""How far runs lie apart, from samples with a known truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.analysis.steadiness import judge
from bench.results.store import read_results
from tests.bench.machine.test_noise import verdict
from tests.bench.results.written import TYPICAL, write


def test_unstable_samples_are_a_reason_and_the_worst_case_is_named(tmp_path: Path) -> None:
    judged = verdict(tmp_path, noise=0.25)
    assert [reason.what for reason in judged.reasons] == ["unstable samples"]
    assert re.search("the worst case is (fan-in|chain), sleep", str(judged))
    assert "Measure more blocks, or longer tasks." in str(judged)
    assert verdict(tmp_path / "wild", noise=0.6).level == "unusable"


def test_a_machine_that_slows_down_as_a_whole_drifts(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, noise=0.01)
    results = read_results(path)
    slowed = [
        type(run)(**{**asdict_of(run), "wall_s": run.wall_s * (1 + run.block / 4)})
        for run in results.measurements
    ]
    judged = judge(type(results)(results.header, tuple(slowed)))
    assert [reason.what for reason in judged.reasons] == ["drift"]


def asdict_of(run: Any) -> dict[str, Any]:
    return {name: getattr(run, name) for name in type(run).__dataclass_fields__}


def test_few_blocks_are_not_called_clean(tmp_path: Path) -> None:
    judged = judge(read_results(write(tmp_path, TYPICAL, blocks=3)))
    assert [reason.what for reason in judged.reasons] == ["few blocks"]


def test_a_case_alone_cannot_hide_its_own_spread(tmp_path: Path) -> None:
    alone = {("fan-in", "noop", "sequential", 1): 1.0}
    judged = judge(read_results(write(tmp_path, alone, noise=0.3)))
    assert "unstable samples" in {reason.what for reason in judged.reasons}
