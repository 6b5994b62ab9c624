"""How long a pipeline would take on `local_threaded`, from runs that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import pytest

from bench.recommend.pipelines import WORKER_BYTES, ZENML_PROCESS_S, ZENML_S, recommend_from_runs
from bench.recommend.recommendation import Recommendation

if TYPE_CHECKING:
    from executors.zenml.store.history import RecordedRun

NEEDS: dict[str, tuple[str, ...]] = {
    "start": (),
    "left": ("start",),
    "right": ("start",),
    "end": ("left", "right"),
}
SECONDS = {"start": 0.2, "left": 0.5, "right": 1.2, "end": 0.3}
BETWEEN_S = 0.1


class Run:
    """What `RecordedRun` says of a run, without ZenML."""

    def __init__(self, step_s: dict[str, float], is_serial: bool = True) -> None:
        self.step_s = step_s
        self.idle_s = BETWEEN_S * len(step_s)
        self.is_serial = is_serial
        self.is_dynamic = False


def recommended(
    *runs: Run, steps: str = "wait", max_workers: Sequence[int] | None = None
) -> Recommendation:
    return recommend_from_runs(
        "example", NEEDS, cast("list[RecordedRun]", runs), max_workers, steps
    )


@pytest.fixture(autouse=True)
def _four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.recommend.pipelines.usable_cpus", lambda: 4)


def test_steps_that_wait_take_what_they_took_and_their_part_of_zenmls_work() -> None:
    advice = recommended(Run(SECONDS))
    seconds = {(one.backend, one.workers): one.seconds for one in advice.candidates}
    assert seconds["sequential", 1] == pytest.approx(sum(SECONDS.values()) + 4 * BETWEEN_S)
    # All of left runs beside right, which is the longer one and so begins first.
    saved_s = seconds["sequential", 1] - seconds["threads", 2]
    assert saved_s == pytest.approx(SECONDS["left"] + BETWEEN_S)
    assert advice.pick is not None
    assert (advice.pick.backend, advice.pick.workers) == ("threads", 2)
    assert "The critical path is start > right > end." in advice.reason
    assert "split or speed up first: right (71 %), end (18 %), start (12 %)" in advice.reason
    assert advice.command == "bench zenml install --max-workers 2 --activate"


def test_steps_that_hold_the_lock_gain_in_processes_only() -> None:
    advice = recommended(Run(SECONDS), steps="python")
    seconds = {(one.backend, one.workers): one.seconds for one in advice.candidates}
    assert seconds["threads", 4] > 0.95 * seconds["sequential", 1]
    assert advice.pick is not None
    assert (advice.pick.backend, advice.pick.workers) == ("processes", 2)
    assert advice.pick.memory_bytes == 2 * WORKER_BYTES
    assert "Each worker process takes about 70 MB" in advice.reason
    assert advice.command == "bench zenml install --flavor process --max-workers 2 --activate"


def test_inline_steps_of_dynamic_pipelines_never_leave_the_process() -> None:
    run = Run(SECONDS)
    run.is_dynamic = True
    advice = recommended(run, steps="python")
    assert {one.backend for one in advice.candidates} == {"sequential", "threads"}
    assert advice.pick is advice.sequential
    assert "keep ZenML's local orchestrator" in advice.reason
    assert advice.command is None


def test_zenmls_own_work_is_never_less_than_it_takes() -> None:
    """16 steps that take no time: what is left is ZenML's work, one step after the other."""
    needs: dict[str, tuple[str, ...]] = {f"step{index}": () for index in range(16)}
    run = Run(dict.fromkeys(needs, 0.0))
    run.idle_s = 0.0
    runs = cast("list[RecordedRun]", [run])
    advice = recommend_from_runs("empty", needs, runs, [8], "wait")
    seconds = {one.backend: one.seconds for one in advice.candidates}
    assert seconds["sequential"] == seconds["threads"] == pytest.approx(16 * ZENML_S)
    assert seconds["processes"] == pytest.approx(16 * ZENML_PROCESS_S)


def test_several_runs_give_a_range() -> None:
    slower = {name: 1.5 * seconds for name, seconds in SECONDS.items()}
    predicted = recommended(Run(SECONDS), Run(slower)).sequential.predicted
    assert predicted is not None
    assert predicted.low == pytest.approx(sum(SECONDS.values()) + 4 * BETWEEN_S)
    assert predicted.high == pytest.approx(sum(slower.values()) + 4 * BETWEEN_S)


def test_runs_in_parallel_count_only_if_there_are_no_others() -> None:
    parallel = Run(dict.fromkeys(NEEDS, 9.0), is_serial=False)
    alone = recommended(Run(SECONDS), parallel)
    assert alone.sequential.seconds == pytest.approx(sum(SECONDS.values()) + 4 * BETWEEN_S)
    assert "ran in parallel" not in alone.reason
    assert "The recorded steps ran in parallel" in recommended(parallel).reason


def test_a_step_that_was_always_cached_counts_as_nothing() -> None:
    advice = recommended(Run({name: SECONDS[name] for name in ("start", "right", "end")}))
    assert advice.work_s == pytest.approx(1.7)
    assert "Always cached, so counted as 0 s: left." in advice.reason


def test_only_the_numbers_that_are_asked_for() -> None:
    advice = recommended(Run(SECONDS), max_workers=[3])
    assert [(one.backend, one.workers) for one in advice.candidates] == [
        ("sequential", 1),
        ("threads", 3),
        ("processes", 3),
    ]


def test_steps_that_take_no_time_divide_nothing_by_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.recommend.pipelines.ZENML_S", 0.0)
    monkeypatch.setattr(f"{__name__}.BETWEEN_S", 0.0)
    advice = recommended(Run(dict.fromkeys(SECONDS, 0.0)))
    assert advice.speedup is None
