"""METG from curves with a known truth, and a small real run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench import BenchError
from bench.cli import main
from bench.commands.metg import Sweep, _plainly
from bench.granularity import crossings, sweep
from bench.granularity.crossings import (
    LENGTHS_S,
    Crossing,
    Metg,
    Point,
    cross,
    lengths_of,
    summarise,
)
from bench.machine.noise import UNUSABLE, Reason, Verdict
from reports.granularity import length_of
from tests.available import POOLS


def points(overhead_s: float, blocks: int, noise: float = 0.02, seed: int = 5) -> list[Point]:
    """A backend that adds the same to each task, on 2 workers that reach 1.8 times one."""
    random = np.random.default_rng(seed)
    drawn = []
    for block in range(blocks):
        for length_s in LENGTHS_S:
            for backend, wall_s in (
                ("sequential", 1.8 * length_s),
                ("threads", length_s + overhead_s),
            ):
                wall_s *= random.lognormal(0, noise)
                ceiling_s = 10 * length_s * random.lognormal(0, noise)
                drawn.append(Point(backend, length_s, 10, block, ceiling_s, 10 * wall_s))
    return drawn


def test_metg_is_found_with_an_interval_that_has_the_truth_in_it() -> None:
    """Efficiency is l / (l + o): a part p of it is reached at l = o p / (1 - p)."""
    outcome = summarise(points(100e-6, 7), "native-cpu", 2, 1.8)
    for level, truth_s in ((0.5, 100e-6), (0.75, 300e-6), (0.9, 900e-6)):
        crossing = outcome.metg["threads"][level]
        assert crossing.length_s == pytest.approx(truth_s, rel=0.15)
        assert crossing.low_s is not None
        assert crossing.high_s is not None
        assert crossing.low_s * 0.9 <= truth_s <= crossing.high_s * 1.1
    assert outcome.break_even["threads"].length_s == pytest.approx(125e-6, rel=0.1)  # o / (1.8 - 1)
    assert list(outcome.metg) == ["threads"]


def test_what_lies_outside_of_the_lengths_is_said_in_words() -> None:
    assert cross(LENGTHS_S, [0.1] * len(LENGTHS_S), 0.5) == math.inf
    assert cross(LENGTHS_S, [0.9] * len(LENGTHS_S), 0.5) == 0.0
    assert length_of(math.inf) == "not reached"
    assert length_of(0.0) == "below 5 us"
    assert length_of(123.4e-6) == "120 us"


def sweep_of(outcome: Metg, *reasons: Reason) -> Sweep:
    return Sweep({}, [], outcome, Verdict(tuple(reasons)))


def test_there_is_one_judgement_in_the_table_and_in_the_sentence() -> None:
    """Sequential runs that were undisturbed deny what the figures beside the ceiling say."""
    drawn = [
        replace(point, wall_s=point.wall_s / 2.5) if point.backend == "sequential" else point
        for point in points(10e-6, 7)
    ]
    outcome = summarise(drawn, "native-cpu", 2, 1.8)
    assert math.isinf(outcome.break_even["threads"].length_s)
    assert outcome.metg["threads"][0.75].length_s < 1e-3
    assert not outcome.is_known("threads")
    assert _plainly("threads", sweep_of(outcome)).startswith("threads: cannot tell how long")


def test_on_an_unusable_machine_nothing_is_said() -> None:
    outcome = summarise(points(100e-6, 7), "native-cpu", 2, 1.8)
    assert outcome.is_known("threads")
    assert "shorter than 130 us are not worth" in _plainly("threads", sweep_of(outcome))
    noise = Reason("load", UNUSABLE, "others ran", "Stop them.")
    said = _plainly("threads", sweep_of(outcome, noise))
    assert "cannot tell" in said
    assert "130 us" not in said


def test_an_interval_that_reaches_beyond_the_lengths_is_no_judgement() -> None:
    assert Crossing(1e-4, 5e-5, 2e-4).is_known
    assert Crossing(math.inf, math.inf, math.inf).is_known
    assert not Crossing(1e-4, 5e-5, math.inf).is_known
    assert not Crossing(math.inf, 1e-3, math.inf).is_known
    assert not Crossing(0.0, 0.0, 1e-3).is_known


def test_the_sentence_names_lengths_that_were_measured() -> None:
    """On a slow machine, tasks that should take 5 ms may take 7."""
    slow = [replace(point, ceiling_s=1.4 * point.ceiling_s, wall_s=3.0) for point in points(0.0, 7)]
    outcome = summarise(slow, "native-cpu", 2, 1.0)
    outcome = replace(outcome, break_even={"threads": Crossing(math.inf, math.inf, math.inf)})
    assert "tasks of up to 7.2 ms are not worth" in _plainly("threads", sweep_of(outcome))


def test_between_two_lengths_the_curve_is_straight_over_logarithms() -> None:
    curve = [0.0] * 3 + [1.0] * (len(LENGTHS_S) - 3)
    assert cross(LENGTHS_S, curve, 0.5) == pytest.approx(LENGTHS_S[2] * 2**0.5)


def test_the_interval_of_metg_covers_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossings, "RESAMPLES", 200)
    covered = 0
    for seed in range(200):
        crossing = summarise(points(100e-6, 7, seed=seed), "native-cpu", 2, 1.8).metg["threads"][
            0.75
        ]
        assert crossing.low_s is not None
        assert crossing.high_s is not None
        covered += crossing.low_s <= 300e-6 <= crossing.high_s
    assert 180 <= covered <= 200


def test_lengths_are_what_tasks_took_not_what_was_wanted() -> None:
    """A kernel that makes tasks half as long as it should."""
    halved = [replace(point, ceiling_s=point.ceiling_s / 2) for point in points(100e-6, 5)]
    assert lengths_of(halved) == pytest.approx([length_s / 2 for length_s in LENGTHS_S], rel=0.05)


def test_few_blocks_have_no_interval() -> None:
    outcome = summarise(points(100e-6, 4), "native-cpu", 2, 1.8)
    assert outcome.metg["threads"][0.5].low_s is None


def test_a_kernel_that_waits_or_does_nothing_is_refused() -> None:
    for kernel in ("sleep", "noop"):
        with pytest.raises(BenchError, match="a kernel that keeps a CPU busy"):
            sweep.measure(kernel, ["threads"], 2, 1)
    with pytest.raises(BenchError, match="METG is a length, so give the kernel without one"):
        sweep.measure("native-cpu:5ms", ["threads"], 2, 1)


@pytest.mark.usefixtures("quick")
def test_a_small_run_leaves_samples_and_a_figure(tmp_path: Path) -> None:
    arguments = ["metg", "--max-workers", "2", "--blocks", "1", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (0, 4), result.output  # 4: the machine was too noisy
    assert "worth running in parallel here" in " ".join(result.output.split())
    content = json.loads((tmp_path / "out" / "metg.json").read_text())
    assert len(content["points"]) == (1 + len(POOLS)) * len(LENGTHS_S)
    assert {point["backend"] for point in content["points"]} == {"sequential", *POOLS}
    assert all(point["wall_s"] > 0 for point in content["points"])
    assert content["noise"]["level"] in ("clean", "noisy", "unusable")
    assert "ceiling" in (tmp_path / "out" / "metg.svg").read_text()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_a_folder_that_cannot_be_written_is_refused_before_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.commands.metg.measure", None)
    (tmp_path / "file").write_text("mine")
    result = CliRunner().invoke(main, ["metg", "--max-workers", "2", "-o", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "choose another path" in result.output


def test_backends_must_be_others_than_the_baseline() -> None:
    result = CliRunner().invoke(main, ["metg", "--backends", "sequential"])
    assert result.exit_code == 2
    assert "must name a backend other than sequential" in result.output
