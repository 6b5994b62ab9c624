"""The time of our flavors, compared with ZenML's `local` on the same pipelines.

`nox -s bench_zenml` runs it in a store of its own and prints a Markdown table; rows that compare
have a limit; the others show where the time of a run goes.
"""

from __future__ import annotations

import inspect
import logging
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial, wraps
from operator import itemgetter
from statistics import median
from typing import Any

os.environ["ZENML_ANALYTICS_OPT_IN"] = "false"
STORE = tempfile.TemporaryDirectory()
os.environ["ZENML_CONFIG_PATH"] = STORE.name
os.environ["ZENML_LOGGING_VERBOSITY"] = "ERROR"

from zenml import pipeline, step
from zenml.client import Client
from zenml.environment import Environment
from zenml.zen_stores.sql_zen_store import SqlZenStore

from bench.recommend.pipelines import recommend_for_pipeline
from benchmarks.table import Row, at_most, ratio, rounds, show
from executors.zenml.install import install
from executors.zenml.orchestrator import LocalProcessOrchestrator
from executors.zenml.store.tuning import tune

COUNT = 5
CHAIN = 20
FAN = 16
FAN_STEP_S = 0.2
LOCAL = "default"


@step(enable_cache=False)
def sleeps(seconds: float) -> None:
    time.sleep(seconds)


@pipeline(enable_cache=False)
def chain() -> None:
    previous: list[str] = []
    for number in range(CHAIN):
        sleeps(0.0, id=f"step{number}", after=previous)
        previous = [f"step{number}"]


@pipeline(enable_cache=False)
def fan() -> None:
    for number in range(FAN):
        sleeps(FAN_STEP_S, id=f"step{number}")


def join_of_three(part_s: float, join_s: float) -> None:
    parts = [f"part{number}" for number in range(3)]
    for part in parts:
        sleeps(part_s, id=part)
    sleeps(join_s, id="join", after=parts)


@pipeline(enable_cache=False)
def example() -> None:
    join_of_three(1.0, 0.4)


@pipeline(enable_cache=False)
def diamonds() -> None:
    before: list[str] = []
    for number in range(3):
        sleeps(0.5, id=f"join{number}", after=before)
        before = [f"part{number}.{index}" for index in range(4)]
        for part in before:
            sleeps(1.0, id=part, after=[f"join{number}"])
    sleeps(0.5, id="end", after=before)


@pipeline(enable_cache=False)
def wide() -> None:
    for number in range(FAN):
        sleeps(1.0, id=f"step{number}")


@pipeline(enable_cache=False)
def empty() -> None:
    for number in range(FAN):
        sleeps(0.0, id=f"step{number}")


@step(enable_cache=False)
def computes(seconds: float) -> None:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


@pipeline(enable_cache=False)
def python() -> None:
    for number in range(FAN):
        computes(1.0, id=f"step{number}")


@pipeline(enable_cache=False)
def documented() -> None:
    join_of_three(5.0, 2.0)


def on(stack: str, run: Callable[[], object]) -> None:
    Client().activate_stack(stack)
    run()


def beside_local(run: Callable[[], object], workers: int) -> dict[str, list[float]]:
    """Seconds of a pipeline on both orchestrators."""
    stack = f"threaded-{workers}"
    install(stack, workers)
    return rounds({"local": partial(on, LOCAL, run), "threaded": partial(on, stack, run)}, COUNT)


def compared(
    what: str, run: Callable[[], object], workers: int, limit: float, ideal_s: float
) -> Iterator[Row]:
    times = beside_local(run, workers)
    local_s, threaded_s = median(times["local"]), median(times["threaded"])
    note = f" ({threaded_s:.2f} s, {local_s:.2f} s; without ZenML's work {ideal_s:.2f} s)"
    yield at_most(f"{what} / local", ratio(times, "threaded", "local"), limit, note)


def chain_of_empty_steps() -> Iterator[Row]:
    """Nothing can run in parallel: only the time of the orchestrators themselves."""
    yield from compared(f"chain of {CHAIN} empty steps, 8 workers", chain, 8, 0.9, 0.0)


def fan_of_waiting_steps() -> Iterator[Row]:
    """Steps that wait, side by side."""
    ideal_s = FAN_STEP_S * FAN / 8
    yield from compared(f"{FAN} steps of {FAN_STEP_S} s, 8 workers", fan, 8, 0.45, ideal_s)


def documented_example() -> Iterator[Row]:
    """Three steps and one that needs them."""
    yield from compared("three steps of 1 s, then one of 0.4 s, 4 workers", example, 4, 0.55, 1.4)


def tuned() -> Iterator[Row]:
    """The same on threads with a write-ahead log in the store, over `local` without it."""
    for what, run, workers, limit in (
        (f"chain of {CHAIN} empty steps, 8 workers", chain, 8, 0.6),
        (f"{FAN} steps of {FAN_STEP_S} s, 8 workers", fan, 8, 0.3),
        ("three steps of 1 s, then one of 0.4 s, 4 workers", example, 4, 0.44),
    ):
        stack = f"threaded-{workers}"
        install(stack, workers)

        def with_log(run: Callable[[], object] = run, stack: str = stack) -> None:
            on(stack, run)

        ratios = []
        for number in range(COUNT + 1):
            tune(undo=True)
            local_s = took_s(partial(on, LOCAL, run))
            tune()
            tuned_s = took_s(with_log)
            if number:
                ratios.append(tuned_s / local_s)
        tune(undo=True)
        yield at_most(f"{what}, tuned / local", median(ratios), limit, "")


def took_s(run: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    run()
    return time.perf_counter() - start_s


def on_processes() -> Iterator[Row]:
    """Makespans of `local_process` with warm workers over those of `local`."""
    for what, run, workers, limit in (
        (f"chain of {CHAIN} empty steps, 8 workers", chain, 8, 1.3),
        (f"{FAN} empty steps, 8 workers", empty, 8, 0.9),
        (f"{FAN} steps of 1 s of Python, 2 workers", python, 2, 0.58),
    ):
        stack = f"process-{workers}"
        install(stack, workers, activate=True, flavor="local_process")
        orchestrator = Client().active_stack.orchestrator
        assert isinstance(orchestrator, LocalProcessOrchestrator)
        orchestrator.worker_pool().fill()
        ratios = []
        for number in range(COUNT + 1):
            local_s = makespan_s(LOCAL, run)
            process_s = makespan_s(stack, run)
            if number:
                ratios.append(process_s / local_s)
        yield at_most(f"{what}, processes / local", median(ratios), limit, "")


def makespan_s(stack: str, run: Callable[[], object]) -> float:
    """Seconds from the start of the first step of a run to the end of its last one."""
    on(stack, run)
    last = Client().list_pipeline_runs(sort_by="desc:created", size=1).items[0]
    steps = Client().list_run_steps(pipeline_run_id=last.id, size=100).items
    starts = [step.start_time for step in steps if step.start_time is not None]
    ends = [step.end_time for step in steps if step.end_time is not None]
    return (max(ends) - min(starts)).total_seconds()


def store_of_a_step() -> Iterator[Row]:
    """What an empty step waits for: calls of ZenML's store, which no orchestrator can leave out."""
    install("threaded-8", 8, activate=True)
    seconds: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    inside: list[str] = []

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def measured(*arguments: Any, **options: Any) -> Any:
            if inside:  # part of another call
                return call(*arguments, **options)
            inside.append(name)
            start_s = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                inside.clear()
                seconds[name] += time.perf_counter() - start_s
                calls[name] += 1

        return measured

    methods = {
        name: call
        for name, call in vars(SqlZenStore).items()
        if inspect.isfunction(call) and not name.startswith("_")
    }
    for name, call in methods.items():
        setattr(SqlZenStore, name, timed(name, call))
    try:
        chain()
    finally:
        for name, call in methods.items():
            setattr(SqlZenStore, name, call)
    for name, total_s in sorted(seconds.items(), key=itemgetter(1))[:-5:-1]:
        what = f"ZenML's store, a step: {name}, {calls[name] / CHAIN:.0f} calls"
        yield Row(what, f"{1000 * total_s / CHAIN:.1f} ms", "", None)


def predictions() -> Iterator[Row]:
    """Time of a run as `bench recommend --pipeline` predicts it from one run with `local`."""
    for measured in (documented, wide, diamonds):
        on(LOCAL, measured)
        advice = recommend_for_pipeline(measured.name, [2, 4, 8], "wait")
        predicted_s = {candidate.workers: candidate.seconds for candidate in advice.candidates}
        for workers in (2, 4, 8):
            install(f"threaded-{workers}", workers)
            took_s = median(recorded_s(f"threaded-{workers}", measured) for _ in range(3))
            value = predicted_s[workers] / took_s
            what = f"{measured.name}, {workers} workers: predicted / measured ({took_s:.2f} s)"
            yield Row(what, f"{value:.3f}", "within 15 %", abs(value - 1) <= 0.15)


def recorded_s(stack: str, measured: Callable[[], object]) -> float:
    """Seconds of a run from its start to its end, as ZenML records them."""
    on(stack, measured)
    last = Client().list_pipeline_runs(sort_by="desc:created", size=1).items[0]
    assert last.start_time is not None
    assert last.end_time is not None
    return (last.end_time - last.start_time).total_seconds()


def shares_of_a_run() -> Iterator[Row]:
    """Where the seconds of the chain go: scheduling is ours, all else nearly only ZenML's."""
    install("threaded-8", 8, activate=True)
    packages_s, step_s, scheduler_s, rest_s = [], [], [], []
    for _ in range(COUNT):
        start_s = time.perf_counter()
        Environment.get_python_packages()
        packages_s.append(time.perf_counter() - start_s)
        start_s = time.perf_counter()
        run = chain()
        run_s = time.perf_counter() - start_s
        assert run is not None
        summary = run.run_metadata["local_threaded"]
        assert isinstance(summary, dict)
        steps_s = summary["sum_of_step_times_s"]
        step_s.append(steps_s / CHAIN)
        scheduler_s.append(summary["wall_time_s"] - steps_s)
        rest_s.append(run_s - summary["wall_time_s"] - packages_s[-1])
    for what, seconds in (
        ("listing the installed packages, once a run", packages_s),
        ("compiling, storing and ending a run", rest_s),
        ("starting, logging and storing an empty step", step_s),
        (f"scheduling {CHAIN} steps", scheduler_s),
    ):
        yield Row(what, f"{median(seconds):.3f} s", "", None)


PARTS = (
    chain_of_empty_steps,
    fan_of_waiting_steps,
    documented_example,
    tuned,
    on_processes,
    store_of_a_step,
    predictions,
    shares_of_a_run,
)

if __name__ == "__main__":
    logging.getLogger().setLevel(logging.ERROR)
    show(PARTS)
