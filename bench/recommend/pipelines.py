"""How long our flavors would take for a ZenML pipeline, from its recorded runs alone.

A step takes as long as recorded, plus its share of ZenML's work between the steps. In that work,
ZenML's own part does not run in parallel: in threads it holds the interpreter lock, and anywhere
that of the store. So steps begin one after the other, as with a scheduler that takes that long per
task. Nothing recorded shows whether the steps themselves wait or compute, so the caller specifies
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from bench.analysis.estimates import INDIFFERENCE, Estimate
from bench.analysis.summary import summarise
from bench.predict.prediction import simulated_s
from bench.predict.worker_counts import predicted_counts, with_bends
from bench.recommend.recommendation import Candidate, Recommendation, median_and_range
from bench.results.case import BASELINE
from bench.workloads.duration import shown
from bench.workloads.kernels import COMPUTES
from executors import Graph, Task, usable_cpus
from executors.backends.simulated import Overheads
from executors.contention import Demand, Machine

if TYPE_CHECKING:
    from bench.results.store import Results
    from executors.zenml.store.history import RecordedRun

ZENML_S = 0.085  # ZenML's own work per step: 40 to 70 ms alone, up to 85 ms in parallel
ZENML_PROCESS_S = 0.05  # the part of it that processes do one after the other, in the store
WORKER_BYTES = 70_000_000  # of a worker process, beside what it shares with the others
FLAVORS = {"threads": "", "processes": "--flavor process "}  # options of bench zenml install
ZENML_WORKERS = 10  # threads of ZenML's own runner of dynamic pipelines
SHARES = {"wait": (0.0, 0.0), "compute": (1.0, 0.0), "python": (1.0, 1.0)}  # of core and lock
ACTIVITIES = {
    "wait": "wait for other systems",
    "compute": "compute outside of Python",
    "python": "compute in Python",
}
MOST_SHOWN = 3  # steps of the critical path


def recommend_for_pipeline(
    name: str, max_workers: Sequence[int] | None, steps: str
) -> Recommendation:
    """Threads or processes, and how many; runs nothing.

    Args:
        name: of a pipeline with a completed run in ZenML's store.
        steps: what its steps do: wait, compute or python.

    Raises:
        NotRecorded: there is no such pipeline, or it has no completed run.
    """
    from executors.zenml.store.history import recorded_runs

    needs, runs = recorded_runs(name)
    return recommend_from_runs(name, needs, runs, max_workers, steps)


def recommend_from_runs(
    name: str,
    needs: Mapping[str, tuple[str, ...]],
    runs: Sequence[RecordedRun],
    max_workers: Sequence[int] | None,
    steps: str,
) -> Recommendation:
    """The same from given records.

    Args:
        needs: names of the needs by step name.
        runs: at least one, each with at least one recorded step.
    """
    runs = [run for run in runs if run.is_serial] or runs
    usual_s = _usual_s(needs, runs)
    graph = Graph(
        Task(step, print, needed, cost_s=usual_s.get(step, 0.0)) for step, needed in needs.items()
    )
    between_s = median(run.idle_s / len(run.step_s) for run in runs)
    times_s = [{**usual_s, **run.step_s} for run in runs]
    is_dynamic = any(run.is_dynamic for run in runs)
    backends = ["threads"] if is_dynamic else list(FLAVORS)  # inline steps never leave the process
    candidates = _predicted(graph, times_s, between_s, steps, backends, max_workers)
    best = min(candidates, key=lambda candidate: candidate.seconds)
    near = [other for other in candidates if other.seconds <= best.seconds * (1 + INDIFFERENCE)]
    pick = min(
        near,
        key=lambda one: (one.workers, not one.is_baseline, one.backend == "processes"),
    )
    cpu, gil = _shares(pick.backend, steps)
    bound_s = graph.work_s() * max(1 / pick.workers, cpu / usable_cpus(), gil)
    helps = pick.workers > ZENML_WORKERS if is_dynamic else not pick.is_baseline
    flavor = FLAVORS.get(pick.backend, "")
    command = f"bench zenml install {flavor}--max-workers {pick.workers} --activate"
    return Recommendation(
        graph=f"pipeline {name}",
        pick=pick,
        runner_up=None,
        candidates=candidates,
        span_s=graph.span_s(),
        work_s=graph.work_s(),
        parallelism=graph.work_s() / graph.span_s() if graph.span_s() else 1.0,
        regret=None,
        reason=" ".join(_reasons(graph, pick, steps, set(needs) - set(usual_s), runs)),
        verdict=None,
        bound_s=max(graph.span_s(), bound_s),
        command=command if helps else None,
    )


def predicted_beside(results: Results, pipeline: str) -> list[str]:
    """A table of the measured makespans of a pipeline, and of what was predicted for them.

    The prediction rests on the runs in ZenML's store whose steps ran one after the other, which are
    those on `default` and with one worker. Whether steps wait or compute in Python is taken from
    how busy the processor was.

    Args:
        pipeline: module:pipeline.
    """
    from executors.zenml.errors import NotRecorded
    from executors.zenml.stacks.usable import flavor_of_stack

    groups = [group for group in summarise(results).groups if group.shape == pipeline]
    trial = results.header["graphs"].get(pipeline)
    if not groups or trial is None:
        return []
    steps = "wait" if trial["cpu"] < COMPUTES else "python"
    backends = {"local": BASELINE, "local_threaded": "threads", "local_process": "processes"}
    rows = []
    for row in groups[0].stacks:
        flavor = flavor_of_stack(row.case.name)
        if flavor in backends:
            rows.append((row, backends[flavor]))
    counts = sorted({row.case.workers for row, _ in rows})
    try:
        advice = recommend_for_pipeline(pipeline.partition(":")[2], counts, steps)
    except NotRecorded:
        return []
    predicted = {(one.backend, one.workers): one.seconds for one in advice.candidates}
    lines = [
        f"Predicted from the runs one after another, as steps that {ACTIVITIES[steps]}:",
        f"  {'stack':<14}workers   measured  predicted   off by",
    ]
    for row, backend in rows:
        guess_s = predicted.get((backend, row.case.workers))
        if guess_s is None:
            continue
        off = 100 * (guess_s / row.makespan_s - 1)
        lines.append(
            f"  {row.case.name:<14}{row.case.workers:>7} {shown(row.makespan_s):>10}"
            f" {shown(guess_s):>10} {off:>+6.0f} %"
        )
    return lines


def _usual_s(needs: Mapping[str, tuple[str, ...]], runs: Sequence[RecordedRun]) -> dict[str, float]:
    """Median seconds by step name, without steps that were always cached."""
    known = {step: [run.step_s[step] for run in runs if step in run.step_s] for step in needs}
    return {step: median(times_s) for step, times_s in known.items() if times_s}


def _predicted(
    graph: Graph,
    times_s: Sequence[Mapping[str, float]],
    between_s: float,
    steps: str,
    backends: Sequence[str],
    max_workers: Sequence[int] | None,
) -> tuple[Candidate, ...]:
    """Sequential and each number of threads and processes, with the range over the runs.

    Args:
        times_s: the seconds of the steps, for each run.
        between_s: the time between two steps.
    """
    cpus = usable_cpus()
    machine = Machine(Machine.ideal(cpus).cores, (1.0, 1.0))
    serial_s = {
        BASELINE: max(between_s, ZENML_S),
        "threads": max(between_s, ZENML_S),
        "processes": ZENML_PROCESS_S,
    }

    def demand(backend: str, run_s: Mapping[str, float], task: Task) -> Demand:
        own_s = run_s.get(task.name, 0.0) + between_s - serial_s[backend]
        return Demand(max(0.0, own_s), *_shares(backend, steps))

    def predicted_s(backend: str, workers: int) -> Estimate:
        costs = Overheads(task_s=serial_s[backend])
        makespans_s = [
            simulated_s(graph, workers, partial(demand, backend, run_s), machine, costs)
            for run_s in times_s
        ]
        return median_and_range(makespans_s)

    def value_s(backend: str, workers: int) -> float:
        return predicted_s(backend, workers).value

    candidates = [Candidate(BASELINE, 1, predicted_s(BASELINE, 1))]
    for backend in backends:
        counts = max_workers or with_bends(
            predicted_counts(cpus, graph.width, steps == "wait"), partial(value_s, backend)
        )
        memory_bytes = WORKER_BYTES if backend == "processes" else 0
        candidates += [
            Candidate(
                backend,
                workers,
                predicted_s(backend, workers),
                memory_bytes=workers * memory_bytes,
            )
            for workers in counts
        ]
    return tuple(candidates)


def _shares(backend: str, steps: str) -> tuple[float, float]:
    """The parts of a step in which it needs a core, and the interpreter lock of its process."""
    cpu, gil = SHARES[steps]
    return cpu, 0.0 if backend == "processes" else gil


def _reasons(
    graph: Graph, pick: Candidate, steps: str, unknown: set[str], runs: Sequence[RecordedRun]
) -> list[str]:
    """Sentences on what the recommendation rests on, and what would help."""
    path = graph.critical_path()
    span_s = graph.span_s()
    longest = sorted(path, key=lambda task: -(task.cost_s or 0.0))[:MOST_SHOWN]
    shares = ", ".join(
        f"{task.name} ({100 * (task.cost_s or 0.0) / span_s:.0f} %)" for task in longest if span_s
    )
    recorded = f"{len(runs)} recorded run{'s' * (len(runs) > 1)}"
    sentences = [
        f"Predicted from the step times of {recorded}, assuming that the steps"
        f" {ACTIVITIES[steps]} (change this with --steps); nothing was run.",
        f"The critical path is {' > '.join(task.name for task in path)}."
        f" To get below it, split or speed up first: {shares}.",
    ]
    if any(run.is_dynamic for run in runs):
        sentences.append(
            "The pipeline is dynamic, and ZenML does not record where its function waits for a"
            " step, for example in .load(); where it does, the steps will take longer than"
            f" predicted. ZenML's own orchestrator runs such steps on up to {ZENML_WORKERS} threads"
            " as well: keep it unless more workers help."
        )
    if unknown:
        sentences.append(f"Always cached, so counted as 0 s: {', '.join(sorted(unknown))}.")
    if pick.backend == "processes":
        sentences.append(
            f"Each worker process takes about {WORKER_BYTES / 1e6:.0f} MB, and 120 MB are shared by"
            " all; the first one takes some seconds to start, once per program."
        )
    if pick.is_baseline:
        sentences.append("More workers do not help: keep ZenML's local orchestrator.")
    if not all(run.is_serial or run.is_dynamic for run in runs):
        sentences.append(
            "The recorded steps ran in parallel, so their times may include waiting for each"
            " other; a run with ZenML's local orchestrator would record their times alone."
        )
    return sentences
