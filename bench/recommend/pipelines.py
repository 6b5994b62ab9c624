"""What `local_threaded` would take for a ZenML pipeline, from its recorded runs alone.

A step takes what it took, and its part of what ZenML did between the steps. ZenML's own work in
that does not run in parallel: it holds the interpreter lock, and the store's. So steps begin one
after the other, as with a scheduler that takes so long for each task. Whether the steps themselves
wait or compute, nothing recorded tells, so the caller says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median

from bench.analysis.estimates import WORTH
from bench.machine.noise import Verdict
from bench.predict.prediction import simulated_s
from bench.recommend.advisor import default_counts
from bench.recommend.recommendation import Candidate, Recommendation, median_and_range
from executors import Graph, Task, usable_cpus
from executors.backends import SEQUENTIAL
from executors.backends.simulated import Overheads
from executors.contention import Demand, Machine

ZENML_S = 0.085  # of a step, in which ZenML itself works: 40 to 70 ms alone, up to 85 side by side
KINDS = {"wait": (0.0, 0.0), "compute": (1.0, 0.0), "python": (1.0, 1.0)}  # cpu and lock of a step
DOES = {
    "wait": "wait for others",
    "compute": "compute outside of Python",
    "python": "compute in Python",
}
MOST_SHOWN = 3  # steps of the critical path


def recommend_for_pipeline(
    name: str, max_workers: Sequence[int] | None, steps: str
) -> Recommendation:
    """How many workers for `local_threaded`; runs nothing.

    Args:
        name: of a pipeline with a completed run in ZenML's store.
        steps: what its steps do: wait, compute or python.

    Raises:
        InstallError: there is no such pipeline, or it has no completed run.
    """
    from executors.zenml.store.history import recorded_runs

    needs, runs = recorded_runs(name)
    runs = [run for run in runs if run.is_serial] or runs
    usual = {
        step: median(known)
        for step in needs
        if (known := [run.step_s[step] for run in runs if step in run.step_s])
    }
    graph = Graph(
        Task(step, print, needed, cost_s=usual.get(step, 0.0)) for step, needed in needs.items()
    )
    between_s = median(run.idle_s / len(run.step_s) for run in runs)
    times_s = [{**usual, **run.step_s} for run in runs]
    candidates = _predicted(graph, times_s, between_s, steps, max_workers)
    best = min(candidates, key=lambda each: each.seconds)
    near = [each for each in candidates if each.seconds <= best.seconds * (1 + WORTH)]
    pick = min(near, key=lambda each: (each.workers, each.backend != BASELINE))
    unknown = [step for step in needs if step not in usual]
    cpu, gil = KINDS[steps]
    bound_s = graph.work_s() * max(1 / pick.workers, cpu / usable_cpus(), gil)
    command = None
    if pick.backend != BASELINE:
        command = f"bench zenml install --max-workers {pick.workers} --activate"
    return Recommendation(
        name=f"pipeline {name}, from {len(runs)} recorded run{'s' * (len(runs) > 1)}",
        pick=pick,
        runner_up=None,
        candidates=candidates,
        span_s=graph.span_s(),
        work_s=graph.work_s(),
        parallelism=graph.work_s() / graph.span_s() if graph.span_s() else 1.0,
        regret=None,
        reason=_reason(graph, pick, steps, unknown, all(run.is_serial for run in runs)),
        verdict=Verdict(),
        bound_s=max(graph.span_s(), bound_s),
        command=command,
    )


def _predicted(
    graph: Graph,
    times_s: Sequence[Mapping[str, float]],
    between_s: float,
    steps: str,
    max_workers: Sequence[int] | None,
) -> tuple[Candidate, ...]:
    """Sequential and each number of threads, with the range over the runs.

    Args:
        times_s: of each run, what its steps took.
        between_s: what there was between two steps.
    """
    cpus = usable_cpus()
    counts = max_workers or default_counts(cpus, graph.width, steps == "wait")
    machine = Machine(Machine.ideal(cpus).cores, (1.0, 1.0))
    zenml_s = max(between_s, ZENML_S)

    def demand(run_s: Mapping[str, float], task: Task) -> Demand:
        own_s = run_s.get(task.name, 0.0) + between_s - zenml_s
        return Demand(max(0.0, own_s), *KINDS[steps])

    def predicted(backend: str, workers: int) -> Candidate:
        costs = Overheads(task_s=zenml_s)
        makespans_s = [
            simulated_s(graph, workers, partial(demand, run_s), machine, costs) for run_s in times_s
        ]
        return Candidate(backend, workers, median_and_range(makespans_s))

    return (predicted(BASELINE, 1), *(predicted("threads", workers) for workers in counts))


def critical_path(graph: Graph) -> list[Task]:
    """The tasks of the longest path in their costs, the first one first."""
    ends: list[float] = []
    for rank, needs in enumerate(graph.needs):
        before_s = max((ends[need] for need in needs), default=0.0)
        ends.append(before_s + (graph.ranked[rank].cost_s or 0.0))
    path: list[Task] = []
    ranks: Sequence[int] = range(len(graph))
    while ranks:
        last = max(ranks, key=lambda rank: ends[rank])
        path.append(graph.ranked[last])
        ranks = graph.needs[last]
    return path[::-1]


def _reason(graph: Graph, pick: Candidate, steps: str, unknown: Sequence[str], serial: bool) -> str:
    path = critical_path(graph)
    span_s = graph.span_s()
    longest = sorted(path, key=lambda task: -(task.cost_s or 0.0))[:MOST_SHOWN]
    shares = ", ".join(
        f"{task.name} ({100 * (task.cost_s or 0.0) / span_s:.0f} %)" for task in longest if span_s
    )
    sentences = [
        f"Predicted from recorded step times, for steps that {DOES[steps]} (--steps); nothing ran.",
        f"Critical path: {' > '.join(task.name for task in path)}."
        f" To be faster than that, split or speed up first: {shares}.",
    ]
    if unknown:
        sentences.append(f"Always cached, so taken for nothing: {', '.join(unknown)}.")
    if pick.backend == BASELINE:
        sentences.append("More workers gain nothing: keep ZenML's local orchestrator.")
    if not serial:
        sentences.append(
            "The steps were recorded side by side, so their times may contain waiting for each"
            " other; a run with ZenML's local orchestrator would tell."
        )
    return " ".join(sentences)
