"""Which candidate to recommend, and why: nothing runs here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench.noise import UNUSABLE
from bench.prediction import View
from bench.recommendation import Candidate, Recommendation
from bench.statistics import WORTH, median_ratio_of_pairs
from executors import Graph
from executors.backends import BASELINE
from executors.backends.simulated import Overheads
from executors.sharing import Demand

MARGIN = 0.15  # of the best prediction: what predictions may be wrong by
SEQUENTIAL_MARGIN = 0.35  # the same where no parallelism is the alternative
LARGEST_REGRET = 0.2  # more than that, and nothing is recommended
MUCH_BYTES = 1e9  # worth a word


def candidates_of(predictions: Sequence[Candidate], parallelism: float) -> Iterator[Candidate]:
    """Those that may be the best for all that predictions can say.

    A pool of one worker gains nothing by being a pool, so it is none of them.

    Args:
        parallelism: work over span; where it is 1, nothing can be gained.
    """
    best_s = min(each.seconds for each in predictions)
    if parallelism < 1 + WORTH:
        yield next(each for each in predictions if each.backend == BASELINE)
        return
    for backend in dict.fromkeys(each.backend for each in predictions):
        own = [
            each
            for each in predictions
            if each.backend == backend and (each.workers > 1 or backend == BASELINE)
        ]
        if not own:
            continue
        own_best_s = min(each.seconds for each in own)
        margin = SEQUENTIAL_MARGIN if backend == BASELINE else MARGIN
        if own_best_s <= best_s * (1 + margin):
            near = [each for each in own if each.seconds <= own_best_s * (1 + WORTH)]
            yield min(near, key=lambda each: each.workers)


def decide(
    found: Recommendation, graph: Graph, view: View, costs: Mapping[str, Overheads]
) -> Recommendation:
    """Picks among the measured candidates or, where none was measured, among the predicted ones."""
    if parallelism_of(graph, found.work_s, found.span_s) < 1 + WORTH:  # sure without measuring
        pick = found.sequential
        return replace(found, pick=pick, reason=why(pick, found, graph, view, costs))
    if found.verdict.level == UNUSABLE:
        return replace(found, reason=f"The machine is too noisy. {found.verdict}")
    measured = [each for each in found.candidates if each.wall_s]
    parallelism = parallelism_of(graph, found.work_s, found.span_s)
    pool = measured or list(candidates_of(found.candidates, parallelism))
    best = min(pool, key=lambda each: each.seconds)
    near = [each for each in pool if each is best or _is_near(each, best)]
    pick = min(near, key=lambda each: (each.workers, each.start_s, each.seconds))
    alone = found.sequential
    if alone in pool and pick is not alone and _slowdown(alone, pick, surely=True) <= 1:
        pick = alone  # no gain that is sure
    others = [each for each in measured if each is not pick]
    regret = max((max(0.0, _slowdown(pick, each) - 1) for each in others), default=None)
    rivals = [
        each
        for each in others or found.candidates
        if each.backend != pick.backend and (each.workers > 1 or each.backend == BASELINE)
    ]
    runner_up = min(rivals, key=lambda each: each.seconds, default=None)
    found = replace(found, runner_up=runner_up, regret=regret)
    if regret is not None and regret > LARGEST_REGRET:
        other = max(others, key=lambda each: _slowdown(pick, each))
        return replace(
            found,
            runner_up=other,
            reason=(
                f"{pick} and {other} cannot be told apart: their runs differ too much."
                " Stop what else is running, or use longer tasks, and try again."
            ),
        )
    return replace(found, pick=pick, reason=why(pick, found, graph, view, costs))


def _is_near(one: Candidate, best: Candidate) -> bool:
    """It is surely within 5 % of the best; or it starts faster, and nothing worthwhile is sure."""
    if _slowdown(one, best) <= 1 + WORTH:
        return True
    if not one.wall_s or one.workers != best.workers or one.start_s >= best.start_s:
        return False
    slowdown = median_ratio_of_pairs(one.wall_s, best.wall_s)
    return slowdown.value <= 1 + WORTH or _slowdown(one, best, surely=True) <= 1


def _slowdown(one: Candidate, other: Candidate, surely: bool = False) -> float:
    """How many times as long as the other it takes at most; `surely`: at least.

    Runs of the same block are compared with each other.
    """
    if not one.wall_s or not other.wall_s:
        return one.seconds / other.seconds
    ratio = median_ratio_of_pairs(one.wall_s, other.wall_s)
    end = ratio.low if surely else ratio.high
    return ratio.value if end is None else end


def why(
    pick: Candidate,
    found: Recommendation,
    graph: Graph,
    view: View,
    costs: Mapping[str, Overheads],
) -> str:
    """What decided, in plain words."""
    demands = [view.demand(task) for task in graph.tasks]
    mean_s = found.work_s / len(graph)
    cpu = sum(each.cpu * each.seconds for each in demands) / found.work_s if found.work_s else 1.0
    if pick.backend == BASELINE:
        others = [each for each in costs if each != BASELINE]
        least_s = min((costs[each].task_s + costs[each].wake_s for each in others), default=0.0)
        if parallelism_of(graph, found.work_s, found.span_s) < 1 + WORTH:
            return "Each task waits for the one before: the critical path is all there is."
        if mean_s < 3 * least_s:
            return (
                f"The tasks are too short ({_shown(mean_s)} on average): to hand one to a worker"
                f" takes up to {_shown(least_s)}."
            )
        return "No backend is surely faster than one task after the other."
    sentences = []
    if cpu < 0.5:
        sentences.append(
            f"The tasks wait for {100 * (1 - cpu):.0f} % of their time, not for cores."
        )
    elif pick.backend == "processes" and (gil := _lock_part(demands)) > 0.5:
        sentences.append(
            f"The tasks hold the interpreter lock for {100 * gil:.0f} % of their time, so threads"
            " take turns."
        )
    else:
        speed = view.machines[pick.backend].cores[-1]
        cores = len(view.machines[pick.backend].cores)
        sentences.append(
            f"The tasks compute, mostly without the interpreter lock; {cores} cores are"
            f" {speed:.2f} times one."
        )
    if pick.seconds < found.span_s * (1 + 2 * WORTH):
        sentences.append(
            f"The critical path, {_shown(found.span_s)}, is nearly reached: more workers change"
            " nothing."
        )
    elif cpu >= 0.5:
        sentences.append("More workers than cores gain nothing.")
    if pick.start_s + pick.seconds > found.sequential.seconds:
        sentences.append(
            f"Starting the workers takes {_shown(pick.start_s)}, once: more than a single run"
            " gains."
        )
    if pick.memory_bytes > MUCH_BYTES:
        sentences.append(f"Its workers need {pick.memory_bytes / 1e9:.1f} GB to begin with.")
    if found.regret is None and not pick.wall_s:
        sentences.append("Nothing was run to verify it.")
    return " ".join(sentences)


def parallelism_of(graph: Graph, work_s: float, span_s: float) -> float:
    """Work over span; of tasks that take no time, tasks over depth."""
    return work_s / span_s if span_s else graph.average_parallelism


def _lock_part(demands: Sequence[Demand]) -> float:
    total_s = sum(each.seconds for each in demands)
    return sum(each.gil * each.seconds for each in demands) / total_s if total_s else 0.0


def _shown(seconds: float) -> str:
    if not seconds:
        return "no time"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
