"""Which candidate to recommend, and why: nothing runs here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from bench.analysis.answer import floored
from bench.analysis.estimates import (
    INDIFFERENCE,
    LARGEST_REGRET,
)
from bench.machine.noise import UNUSABLE
from bench.predict.prediction import TaskModel, takes_turns
from bench.recommend.recommendation import Candidate, Recommendation, ratio_of_times
from bench.results.case import BASELINE
from bench.workloads.duration import shown
from executors import Graph
from executors.backends.simulated import Overheads

MARGIN = 0.15  # by how much predictions may be wrong, as a share of the best one
SEQUENTIAL_MARGIN = 0.35  # likewise, for sequential beside a prediction
MUCH_BYTES = 1e9  # enough memory to be mentioned
MOSTLY = 0.5  # share of the tasks' time


def next_to_run(recommendation: Recommendation) -> list[Candidate]:
    """Candidates that have not run, with the best that has; empty if enough have run."""
    candidates = candidates_of(recommendation.candidates, recommendation.parallelism)
    new = [candidate for candidate in candidates if not candidate.wall_s]
    measured = recommendation.measured
    if not new or not measured:
        return new
    return [*new, min(measured, key=lambda candidate: candidate.seconds)]


def candidates_of(predicted: Sequence[Candidate], parallelism: float) -> list[Candidate]:
    """The candidates that may be the best, as far as is known.

    If runs of a backend took longer than predicted, its other predictions are taken to be equally
    wrong.

    Args:
        parallelism: work over span; if it is 1, nothing can run in parallel.
    """
    if parallelism < 1 + INDIFFERENCE:
        return [candidate for candidate in predicted if candidate.is_baseline]
    eligible = [candidate for candidate in predicted if candidate.can_gain]
    seconds = _expected_s(predicted)
    best = min(eligible, key=lambda candidate: seconds[candidate])
    baseline_margin = MARGIN if best.wall_s else SEQUENTIAL_MARGIN
    chosen = []
    for backend in dict.fromkeys(candidate.backend for candidate in eligible):
        own = [candidate for candidate in eligible if candidate.backend == backend]
        own_best_s = min(seconds[candidate] for candidate in own)
        margin = baseline_margin if backend == BASELINE else MARGIN
        if own_best_s <= seconds[best] * (1 + margin):
            near = [
                candidate
                for candidate in own
                if seconds[candidate] <= own_best_s * (1 + INDIFFERENCE)
            ]
            chosen.append(min(near, key=lambda candidate: candidate.workers))
    return chosen


def _expected_s(candidates: Sequence[Candidate]) -> dict[Candidate, float]:
    """Measured, or else predicted and corrected by the measurements of the same backend."""
    errors = _errors(candidates)
    return {
        candidate: candidate.seconds
        if candidate.wall_s
        else candidate.seconds * errors.get(candidate.backend, 1.0)
        for candidate in candidates
    }


def _errors(candidates: Sequence[Candidate]) -> dict[str, float]:
    """How many times as long as predicted the runs of each backend took."""
    errors: dict[str, list[float]] = {}
    for candidate in candidates:
        predicted = candidate.predicted
        if candidate.wall_s and predicted is not None and predicted.value:
            errors.setdefault(candidate.backend, []).append(candidate.seconds / predicted.value)
    return {backend: median(ratios) for backend, ratios in errors.items()}


def corrections(recommendation: Recommendation) -> Iterator[str]:
    """Why candidates with a shorter prediction than the time of the pick were not run."""
    chosen = recommendation.pick or recommendation.guess
    if chosen is None or not chosen.wall_s:
        return
    for backend, error in _errors(recommendation.candidates).items():
        shortest_s = min(
            (
                candidate.seconds
                for candidate in recommendation.candidates
                if candidate.backend == backend and candidate.can_gain and not candidate.wall_s
            ),
            default=chosen.seconds,
        )
        if shortest_s < chosen.seconds <= shortest_s * error * (1 + INDIFFERENCE):
            yield (
                f"Runs of {backend} took {error:.2f} times as long as predicted; taken that much"
                " longer, none of its other predictions is noticeably better."
            )


def decide(
    recommendation: Recommendation,
    graph: Graph,
    model: TaskModel,
    costs: Mapping[str, Overheads],
) -> Recommendation:
    """Picks among the measured candidates or, if none was measured, among the predicted ones."""
    if recommendation.parallelism < 1 + INDIFFERENCE:  # certain without measuring
        return _picked(recommendation.sequential, recommendation, graph, model, costs)
    pick = _pick_of(recommendation)
    others = [candidate for candidate in recommendation.measured if candidate is not pick]
    regret = max((max(0.0, _slowdown(pick, other) - 1) for other in others), default=None)
    rivals = [
        candidate
        for candidate in others or recommendation.candidates
        if candidate.backend != pick.backend and candidate.can_gain
    ]
    best_s = min((rival.seconds for rival in rivals), default=0.0)
    near = [rival for rival in rivals if rival.seconds <= best_s * (1 + INDIFFERENCE)]
    runner_up = min(near, key=lambda rival: (rival.workers, rival.seconds), default=None)
    recommendation = replace(recommendation, runner_up=runner_up, regret=regret, guess=None)
    verdict = recommendation.verdict
    if verdict is not None and verdict.level == UNUSABLE:
        return _undecided(pick, recommendation, f"The machine is too noisy. {verdict}")
    if regret is not None and regret > LARGEST_REGRET:
        advice = "Stop other programs, or use longer tasks, and try again."
        return _undecided(pick, recommendation, advice)
    return _picked(pick, recommendation, graph, model, costs)


def _undecided(guess: Candidate, recommendation: Recommendation, advice: str) -> Recommendation:
    """No pick, but what is sure all the same: a speedup that all contenders reach."""
    if (
        guess.is_baseline and recommendation.measured
    ):  # it was the pick only because nothing is reliably faster
        guess = _fastest(recommendation)
    contenders = [
        guess,
        *(
            other
            for other in recommendation.measured
            if other is not guess and _slowdown(other, guess, low_end=True) < 1
        ),
    ]
    recommendation = replace(recommendation, pick=None, guess=guess)
    bounds = [recommendation.at_least(contender) for contender in contenders]
    bound = min((bound for bound in bounds if bound is not None), default=None)
    sentences = []
    if bound is not None and bound >= 1 + INDIFFERENCE and None not in bounds:
        sentences.append(
            f"{_subject(contenders)} run it at least {floored(bound)} times as fast as sequential."
        )
    if len(contenders) > 1:
        names = " and ".join(_names(contenders))
        sentences.append(f"The runs differ too much to choose between {names}.")
    sentences += [f"Best guess: {guess}.", advice]
    return replace(recommendation, reason=" ".join(sentences))


def _fastest(recommendation: Recommendation) -> Candidate:
    """The fewest workers within 5 % of the fastest measured candidate, by their medians."""
    best_s = min(candidate.seconds for candidate in recommendation.measured)
    near = [
        candidate
        for candidate in recommendation.measured
        if candidate.seconds <= best_s * (1 + INDIFFERENCE)
    ]
    return min(near, key=lambda candidate: (candidate.workers, candidate.seconds))


def _subject(contenders: Sequence[Candidate]) -> str:
    """What reaches a speedup: 4 workers, or threads with 4 workers and processes with 2 workers."""
    counts = {contender.workers for contender in contenders}
    if len(contenders) > 1 and len(counts) == 1:
        return f"{counts.pop()} workers"
    text = " and ".join(map(str, contenders))
    return text[0].upper() + text[1:]


def _names(contenders: Sequence[Candidate]) -> list[str]:
    """Backends alone if their numbers of workers are the same."""
    if len({contender.workers for contender in contenders}) == 1:
        return [contender.backend for contender in contenders]
    return [str(contender) for contender in contenders]


def _pick_of(recommendation: Recommendation) -> Candidate:
    """The fewest workers reliably near the best; sequential unless one is reliably faster."""
    sequential = recommendation.sequential
    eligible = recommendation.measured or candidates_of(
        recommendation.candidates, recommendation.parallelism
    )
    best = min(eligible, key=lambda candidate: candidate.seconds)
    near = [candidate for candidate in eligible if candidate is best or _is_near(candidate, best)]
    pick = min(
        near, key=lambda candidate: (candidate.workers, candidate.start_s, candidate.seconds)
    )
    if sequential not in eligible or pick is sequential:
        return pick
    return sequential if _slowdown(sequential, pick, low_end=True) <= 1 else pick


def _picked(
    pick: Candidate,
    recommendation: Recommendation,
    graph: Graph,
    model: TaskModel,
    costs: Mapping[str, Overheads],
) -> Recommendation:
    bound_s = max(bound_of(graph, model, pick), recommendation.span_s)
    reason = reason_for(pick, recommendation, graph, model, costs)
    return replace(recommendation, pick=pick, bound_s=bound_s, reason=reason)


def bound_of(graph: Graph, model: TaskModel, candidate: Candidate) -> float:
    """Seconds that no schedule of the candidate can beat: the work over the scarcest capacity.

    The capacities are its workers, the cores and, for threads, the interpreter lock (Brent 1974,
    for each of them).
    """
    demands = [model.demand(task) for task in graph.tasks]
    machine = model.machines[candidate.backend]
    workers_s = sum(demand.seconds for demand in demands) / candidate.workers
    cores_s = sum(demand.seconds * demand.cpu for demand in demands) / max(machine.cores)
    lock_s = sum(demand.seconds * demand.gil for demand in demands) if machine.gil else 0.0
    return max(workers_s, cores_s, lock_s)


def _is_near(candidate: Candidate, best: Candidate) -> bool:
    """Reliably within 5 % of the best; or it starts faster, and its median ratio is within 5 %."""
    if _slowdown(candidate, best) <= 1 + INDIFFERENCE:
        return True
    starts_faster = candidate.workers == best.workers and candidate.start_s < best.start_s
    if not candidate.wall_s or not starts_faster:
        return False
    return ratio_of_times(candidate, best).value <= 1 + INDIFFERENCE


def _slowdown(candidate: Candidate, other: Candidate, low_end: bool = False) -> float:
    """Upper end of the interval of the ratio of their times; `low_end`: the lower end."""
    if not candidate.wall_s or not other.wall_s:
        return candidate.seconds / other.seconds
    ratio = ratio_of_times(candidate, other)
    end = ratio.low if low_end else ratio.high
    return ratio.value if end is None else end


# -- reasons --------------------------------------------------------------------------------------


def reason_for(
    pick: Candidate,
    recommendation: Recommendation,
    graph: Graph,
    model: TaskModel,
    costs: Mapping[str, Overheads],
) -> str:
    """What decided, in plain words."""
    demands = [model.demand(task) for task in graph.tasks]
    total_s = sum(demand.seconds for demand in demands)
    gil = sum(demand.gil * demand.seconds for demand in demands) / total_s if total_s else 0.0
    holds = f"The tasks hold the interpreter lock for {100 * gil:.0f} % of their time"
    if pick.is_baseline:
        if gil > MOSTLY and all(_shares_interpreter(backend) for backend in costs):
            holds += ", so threads take turns; processes were not among the choices."
            return _reason_for_sequential(recommendation, graph, costs, otherwise=holds)
        return _reason_for_sequential(recommendation, graph, costs)
    cpu = sum(demand.cpu * demand.seconds for demand in demands) / total_s if total_s else 1.0
    cores = model.machines[pick.backend].cores
    if cpu < MOSTLY:
        limit = (
            f"The tasks wait for {100 * (1 - cpu):.0f} % of their time, and need no core for it."
        )
    elif gil > MOSTLY:
        limit = f"{holds}, so threads take turns."
    else:
        limit = (
            f"The tasks compute, mostly without the interpreter lock; {len(cores)} cores are"
            f" {cores[-1]:.2f} times as fast as one."
        )
    return " ".join([limit, *_remarks(pick, recommendation, computes=cpu >= MOSTLY)])


def _shares_interpreter(backend: str) -> bool:
    """Whether its workers cannot run Python code in parallel."""
    return backend == BASELINE or takes_turns(backend)


def _reason_for_sequential(
    recommendation: Recommendation,
    graph: Graph,
    costs: Mapping[str, Overheads],
    otherwise: str = "No backend is reliably faster than sequential.",
) -> str:
    if graph.width == 1:
        return "Each task waits for the one before it, so nothing can run in parallel."
    if recommendation.parallelism < 1 + INDIFFERENCE:
        return (
            f"The critical path, {shown(recommendation.span_s)}, is nearly all of the work:"
            " little can run in parallel."
        )
    mean_s = recommendation.work_s / len(graph)
    added_s = [cost.task_s + cost.wake_s for name, cost in costs.items() if name != BASELINE]
    least_s = min(added_s, default=0.0)
    if mean_s < 3 * least_s:
        return (
            f"The tasks are too short ({shown(mean_s)} on average): handing one to a worker takes"
            f" at least {shown(least_s)}."
        )
    return otherwise


def _remarks(pick: Candidate, recommendation: Recommendation, computes: bool) -> Iterator[str]:
    """Sentences on what else limits the pick, or comes with it."""
    if pick.seconds < recommendation.span_s * (1 + 2 * INDIFFERENCE):
        yield (
            f"The critical path, {shown(recommendation.span_s)}, is nearly reached: more workers"
            " do not help."
        )
    elif computes:
        yield "More workers than cores do not help."
    if pick.start_s + pick.seconds > recommendation.sequential.seconds:
        yield (
            f"Starting the workers takes {shown(pick.start_s)}, once: more than a single run saves."
        )
    if pick.memory_bytes > MUCH_BYTES:
        yield f"Its workers need {pick.memory_bytes / 1e9:.1f} GB before they do anything."
    if not pick.wall_s:
        yield "It was not verified by a run."
