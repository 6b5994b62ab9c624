"""Which pools are measured, and what the profiles of a kernel become."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from bench import BenchError
from bench.predict import profiler as module
from bench.predict.prediction import ProfileRound
from bench.predict.profiler import Profiler
from bench.workloads.kernels import Work, sized
from executors import Backend, Graph, Session, Task
from executors.backends import backend_class


class GreenThreads(Backend):
    """A thread backend of another package."""

    name: ClassVar[str] = "green"
    shares_interpreter: ClassVar[bool] = True

    def drive(self, session: Session) -> None:
        raise AssertionError

    def wake(self) -> None:
        pass


class Far(GreenThreads):
    """Workers with interpreters of their own."""

    name: ClassVar[str] = "far"
    shares_interpreter: ClassVar[bool] = False


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    classes: dict[str, Any] = {"green": GreenThreads, "far": Far}

    def class_of(name: str) -> Any:
        return classes.get(name) or backend_class(name)

    monkeypatch.setattr(module, "backend_class", class_of)
    monkeypatch.setattr("bench.predict.prediction.backend_class", class_of)
    monkeypatch.setattr("bench.predict.prediction.has_interpreter_lock", lambda: True)
    monkeypatch.setattr(Profiler, "pool", lambda self, backend, workers: backend)


ROUND = ProfileRound(0.01, 1.0, {2: 0.01}, 0.02)  # two threads take turns


@pytest.mark.usefixtures("others")
def test_threads_of_another_package_share_the_lock_too() -> None:
    profiler = Profiler(["green", "far"])
    profiler.cpus = 2
    kernel = sized("python-cpu:10ms")
    profiler.set_profile(kernel, [ROUND])
    model = profiler.task_models(kernel, Work("python-cpu", 1))[0]
    assert model.machines["green"].gil == pytest.approx((1.0, 1.0))
    assert model.machines["far"].gil == ()
    assert model.machines["sequential"].gil == ()
    demand = model.demand(Task("a", print, cost_s=0.01))
    assert (demand.seconds, demand.cpu, demand.gil) == pytest.approx((0.01, 1.0, 1.0))


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    ("names", "separate", "shared"),
    [
        (["threads", "processes"], "processes", "threads"),
        (["green"], "processes", "green"),  # processes show the cores, whatever is asked for
        (["far"], "processes", None),
    ],
)
def test_both_kinds_of_workers_are_measured_side_by_side(
    names: list[str], separate: str, shared: str | None
) -> None:
    pools: tuple[object, object] = Profiler(names).side_by_side()  # by their names here
    assert pools == (separate, shared)


def test_a_backend_that_runs_nothing_or_is_sequential_is_no_choice() -> None:
    with pytest.raises(BenchError, match="no backend to choose from"):
        Profiler(["sequential", "simulated"])


def test_tasks_that_do_nothing_need_no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_round", None)
    (model,) = Profiler(["threads"]).task_models(sized("noop"), Work("noop", 0))
    assert model.demand(Task("a", print)).seconds == 0.0


@pytest.mark.usefixtures("quick")
def test_a_graph_of_ones_own_has_its_measured_times() -> None:
    graph = Graph(Task(f"nap{index}", Work("sleep", 0.004)) for index in range(3))
    with Profiler(["threads"]) as profiler:
        (model,) = profiler.task_models_of(graph)
    for task in graph.tasks:
        demand = model.demand(task)
        assert demand.seconds >= 0.004
        assert demand.cpu < 0.9
    assert set(model.machines) == {"sequential", "threads"}
