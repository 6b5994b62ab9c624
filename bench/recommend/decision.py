"""Which candidate to recommend, and why: nothing runs here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from bench.analysis.estimates import (
    MIN_SAMPLES,
    WORTH,
    Estimate,
    median_ratio_of_pairs,
    ratio_of_medians,
)
from bench.machine.noise import UNUSABLE
from bench.predict.prediction import View
from bench.recommend.recommendation import Candidate, Recommendation
from executors import Graph
from executors.backends import SEQUENTIAL
from executors.backends.simulated import Overheads

MARGIN = 0.15  # of the best prediction: what predictions may be wrong by
SEQUENTIAL_MARGIN = 0.35  # the same where no parallelism is the alternative to a prediction
LARGEST_REGRET = 0.2  # more than that, and nothing is recommended
MUCH_BYTES = 1e9  # worth a word


def next_to_run(found: Recommendation) -> list[Candidate]:
    """Candidates that have not run yet, with the best of those that have; none: enough has run."""
    candidates = candidates_of(found.candidates, found.parallelism)
    new = [each for each in candidates if not each.wall_s]
    measured = [each for each in found.candidates if each.wall_s]
    if not new or not measured:
        return new
    return [*new, min(measured, key=lambda each: each.seconds)]


def candidates_of(found: Sequence[Candidate], parallelism: float) -> list[Candidate]:
    """Those that may be the best for all that is known.

    A pool of one worker gains nothing by being a pool, so it is none of them. Where runs of a
    backend took longer than predicted, its other predictions are taken to be as wrong.

    Args:
        parallelism: work over span; where it is 1, nothing can be gained.
    """
    if parallelism < 1 + WORTH:
        return [each for each in found if each.backend == BASELINE]
    eligible = [each for each in found if each.workers > 1 or each.backend == BASELINE]
    seconds = _expected_s(found)
    best = min(eligible, key=lambda each: seconds[each])
    alone_margin = MARGIN if best.wall_s else SEQUENTIAL_MARGIN
    chosen = []
    for backend in dict.fromkeys(each.backend for each in eligible):
        own = [each for each in eligible if each.backend == backend]
        own_best_s = min(seconds[each] for each in own)
        margin = alone_margin if backend == BASELINE else MARGIN
        if own_best_s <= seconds[best] * (1 + margin):
            near = [each for each in own if seconds[each] <= own_best_s * (1 + WORTH)]
            chosen.append(min(near, key=lambda each: each.workers))
    return chosen


def _expected_s(found: Sequence[Candidate]) -> dict[Candidate, float]:
    """Measured, or else predicted and corrected by what of the backend was measured."""
    wrong: dict[str, list[float]] = {}
    for each in found:
        if each.wall_s and each.predicted is not None and each.predicted.value:
            wrong.setdefault(each.backend, []).append(each.seconds / each.predicted.value)
    return {
        each: each.seconds if each.wall_s else each.seconds * median(wrong.get(each.backend, [1.0]))
        for each in found
    }


def decide(
    found: Recommendation, graph: Graph, view: View, costs: Mapping[str, Overheads]
) -> Recommendation:
    """Picks among the measured candidates or, where none was measured, among the predicted ones."""
    alone = found.sequential
    if found.parallelism < 1 + WORTH:  # sure without measuring
        return _picked(alone, found, graph, view, costs)
    if found.verdict.level == UNUSABLE:
        return replace(found, pick=None, reason=f"The machine is too noisy. {found.verdict}")
    measured = [each for each in found.candidates if each.wall_s]
    pool = measured or candidates_of(found.candidates, found.parallelism)
    best = min(pool, key=lambda each: each.seconds)
    near = [each for each in pool if each is best or _is_near(each, best)]
    pick = min(near, key=lambda each: (each.workers, each.start_s, each.seconds))
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
            pick=None,
            runner_up=other,
            reason=(
                f"{pick} and {other} cannot be told apart: their runs differ too much."
                " Stop what else is running, or use longer tasks, and try again."
            ),
        )
    return _picked(pick, found, graph, view, costs)


def _picked(
    pick: Candidate,
    found: Recommendation,
    graph: Graph,
    view: View,
    costs: Mapping[str, Overheads],
) -> Recommendation:
    bound_s = bound_of(graph, view, pick)
    reason = why(pick, found, graph, view, costs)
    return replace(found, pick=pick, bound_s=max(bound_s, found.span_s), reason=reason)


def bound_of(graph: Graph, view: View, candidate: Candidate) -> float:
    """Seconds that no schedule of the candidate can beat, by what it has most work for.

    That are its workers, the cores, or where it has threads the interpreter lock (Brent 1974, for
    each of them).
    """
    demands = [view.demand(task) for task in graph.tasks]
    machine = view.machines[candidate.backend]
    workers_s = sum(each.seconds for each in demands) / candidate.workers
    cores_s = sum(each.seconds * each.cpu for each in demands) / max(machine.cores)
    lock_s = sum(each.seconds * each.gil for each in demands) if machine.gil else 0.0
    return max(workers_s, cores_s, lock_s)


def _is_near(one: Candidate, best: Candidate) -> bool:
    """It is surely within 5 % of the best; or starts faster, and is within 5 % in the middle."""
    if _slowdown(one, best) <= 1 + WORTH:
        return True
    if not one.wall_s or one.workers != best.workers or one.start_s >= best.start_s:
        return False
    return _pairs(one, best).value <= 1 + WORTH


def _slowdown(one: Candidate, other: Candidate, surely: bool = False) -> float:
    """How many times as long as the other it takes at most; `surely`: at least."""
    if not one.wall_s or not other.wall_s:
        return one.seconds / other.seconds
    ratio = _pairs(one, other)
    end = ratio.low if surely else ratio.high
    return ratio.value if end is None else end


def _pairs(one: Candidate, other: Candidate) -> Estimate:
    """Their ratio, block by block, over the blocks that both were in if these are enough."""
    walls = dict(zip(one.blocks, one.wall_s, strict=True))
    other_walls = dict(zip(other.blocks, other.wall_s, strict=True))
    both = [block for block in walls if block in other_walls]
    if len(both) < MIN_SAMPLES:
        return ratio_of_medians(one.wall_s, other.wall_s)
    return median_ratio_of_pairs(
        [walls[block] for block in both], [other_walls[block] for block in both]
    )


def why(
    pick: Candidate,
    found: Recommendation,
    graph: Graph,
    view: View,
    costs: Mapping[str, Overheads],
) -> str:
    """What decided, in plain words."""
    demands = [view.demand(task) for task in graph.tasks]
    total_s = sum(each.seconds for each in demands)
    gil = sum(each.gil * each.seconds for each in demands) / total_s if total_s else 0.0
    holds = f"The tasks hold the interpreter lock for {100 * gil:.0f} % of their time"
    if pick.backend == BASELINE:
        if gil > 0.5 and "processes" not in costs:
            holds += ", so threads take turns; processes were not to choose from."
            return _why_sequential(found, graph, costs, otherwise=holds)
        return _why_sequential(found, graph, costs)
    cpu = sum(each.cpu * each.seconds for each in demands) / total_s if total_s else 1.0
    cores = view.machines[pick.backend].cores
    if cpu < 0.5:
        limit = f"The tasks wait for {100 * (1 - cpu):.0f} % of their time, not for cores."
    elif gil > 0.5:
        limit = f"{holds}, so threads take turns."
    else:
        limit = (
            f"The tasks compute, mostly without the interpreter lock; {len(cores)} cores are"
            f" {cores[-1]:.2f} times one."
        )
    return " ".join([limit, *_remarks(pick, found, computes=cpu >= 0.5)])


def _why_sequential(
    found: Recommendation,
    graph: Graph,
    costs: Mapping[str, Overheads],
    otherwise: str = "No backend is surely faster than one task after the other.",
) -> str:
    if graph.width == 1:
        return "Each task waits for the one before: the critical path is all there is."
    if found.parallelism < 1 + WORTH:
        return (
            f"The critical path, {_shown(found.span_s)}, is nearly all there is to do:"
            " little can run beside it."
        )
    mean_s = found.work_s / len(graph)
    added_s = [each.task_s + each.wake_s for name, each in costs.items() if name != BASELINE]
    least_s = min(added_s, default=0.0)
    if mean_s < 3 * least_s:
        return (
            f"The tasks are too short ({_shown(mean_s)} on average): to hand one to a worker"
            f" takes at least {_shown(least_s)}."
        )
    return otherwise


def _remarks(pick: Candidate, found: Recommendation, computes: bool) -> Iterator[str]:
    """Sentences on what else limits the pick, or comes with it."""
    if pick.seconds < found.span_s * (1 + 2 * WORTH):
        yield (
            f"The critical path, {_shown(found.span_s)}, is nearly reached: more workers change"
            " nothing."
        )
    elif computes:
        yield "More workers than cores gain nothing."
    if pick.start_s + pick.seconds > found.sequential.seconds:
        yield (
            f"Starting the workers takes {_shown(pick.start_s)}, once: more than a single run"
            " gains."
        )
    if pick.memory_bytes > MUCH_BYTES:
        yield f"Its workers need {pick.memory_bytes / 1e9:.1f} GB to begin with."
    if not pick.wall_s:
        yield "Nothing was run to verify it."


def _shown(seconds: float) -> str:
    if not seconds:
        return "no time"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
