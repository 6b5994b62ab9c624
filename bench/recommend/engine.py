"""When leaving this machine pays: an engine with more workers, against the best local backend.

Nothing runs on the workers that are only considered. What the engine adds to a run, a task, a
wake-up and a value is measured on those that it has, here or at its address; then the graph is
simulated on both sides::

    local    each backend with each useful number of workers, which share this machine's cores
    engine   each number of workers, with a core each

So it is the best that the engine can do with workers like these cores: a slower network, or a
scheduler that gets slower with more workers, is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import median

from bench.analysis.estimates import INDIFFERENCE
from bench.machine.timing import wall_s, warm_up
from bench.predict.prediction import TaskModel, overheads, simulated_s
from bench.predict.profiler import Profiler
from bench.predict.worker_counts import predicted_counts
from bench.results.case import BASELINE
from bench.workloads.kernels import COMPUTES, Work
from bench.workloads.payload import NOTHING, Payload
from bench.workloads.shapes import sized as sized_shape
from executors import Backend, Graph, Task
from executors.backends.simulated import Overheads
from executors.contention import Demand, Machine

SHORTEST_S, LONGEST_S = 1e-4, 1e3  # of a task, between which it is looked for
STEPS = 24  # of the search, each halving what is left
REPEATS = 5
VALUE_STEPS = 4  # of the stencil in which values are handed on


@dataclass(frozen=True, slots=True)
class Costs:
    """What a backend adds.

    Attributes:
        overheads: to runs and tasks.
        value_s: seconds per task that hands on a value, by its payload.
    """

    overheads: Overheads
    value_s: Mapping[Payload, float]


@dataclass(frozen=True, slots=True)
class Offer:
    """An engine with a number of workers, for values of a size.

    Attributes:
        payload: as on the command line.
        local: the best local candidate, such as "processes with 2".
        local_s, engine_s: predicted times of the graph as it is.
        pays_from_s: length of a task, at least, for the engine to be faster; None if it never is,
            and for graphs of the user's own.
    """

    workers: int
    payload: str
    local: str
    local_s: float
    engine_s: float
    pays_from_s: float | None

    @property
    def speedup(self) -> float:
        """Over the best local candidate."""
        return self.local_s / self.engine_s


@dataclass(frozen=True, slots=True)
class EngineAdvice:
    """What an engine would be worth for one graph.

    Attributes:
        name: the graph, and what its tasks do.
        length_s: of a task as planned; None for graphs of the user's own.
        offers: by payload, then by number of workers.
    """

    name: str
    engine: str
    length_s: float | None
    offers: tuple[Offer, ...]

    @property
    def worth(self) -> Offer | None:
        """The fewest workers within 5 % of the fastest, for the first payload; None if local is."""
        first = [offer for offer in self.offers if offer.payload == self.offers[0].payload]
        best_s = min(offer.engine_s for offer in first)
        fewest = next(offer for offer in first if offer.engine_s <= best_s * (1 + INDIFFERENCE))
        return fewest if fewest.speedup > 1 + INDIFFERENCE else None


class EngineAdvisor:
    """Compares an engine with the local backends of a profiler.

    Args:
        profiler: entered.
        engine: entered.
        payloads: of the values that tasks hand on.
    """

    def __init__(
        self, profiler: Profiler, engine: Backend, payloads: Sequence[Payload] = (NOTHING,)
    ) -> None:
        self._profiler = profiler
        self._name = engine.name
        self._payloads = list(payloads)
        warm_up(engine, [])
        self._engine = Costs(overheads(engine), value_costs(engine, payloads))
        self._local = {
            name: Costs(
                profiler.overheads[name],
                value_costs(profiler.pool(name, profiler.cpus), payloads),
            )
            for name in (BASELINE, *profiler.names)
        }

    def advise(
        self,
        name: str,
        graph: Graph,
        model: TaskModel,
        workers: Sequence[int],
        length_s: float | None,
    ) -> EngineAdvice:
        """What the engine would be worth with each of these numbers of workers.

        Args:
            length_s: of the tasks, if they are alike and could be longer.
        """
        offers = []
        for payload in self._payloads:
            local_s, local = self._best_local(graph, model, payload, 1.0)
            for count in workers:
                engine_s = self._engine_s(graph, model, payload, count, 1.0)
                pays_from_s = None
                if length_s:
                    pays_from_s = self._pays_from_s(graph, model, payload, count, length_s)
                offers.append(Offer(count, payload.text, local, local_s, engine_s, pays_from_s))
        return EngineAdvice(name, self._name, length_s, tuple(offers))

    def _pays_from_s(
        self, graph: Graph, model: TaskModel, payload: Payload, workers: int, length_s: float
    ) -> float | None:
        """The shortest task with which the engine is faster: bisected, on a logarithmic scale."""

        def pays(log_s: float) -> bool:
            factor = math.exp(log_s) / length_s
            local_s, _ = self._best_local(graph, model, payload, factor)
            return self._engine_s(graph, model, payload, workers, factor) < local_s

        low, high = math.log(SHORTEST_S), math.log(LONGEST_S)
        if not pays(high):
            return None
        if pays(low):
            return SHORTEST_S
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if pays(middle) else (middle, high)
        return math.exp(high)

    def _engine_s(
        self, graph: Graph, model: TaskModel, payload: Payload, workers: int, factor: float
    ) -> float:
        machine = Machine.ideal(workers)
        return _predicted(graph, workers, model, machine, self._engine, payload, factor)

    def _best_local(
        self, graph: Graph, model: TaskModel, payload: Payload, factor: float
    ) -> tuple[float, str]:
        """The shortest time on this machine, and what reaches it."""
        waits = any(model.demand(task).cpu < COMPUTES for task in graph.tasks)
        counts = predicted_counts(self._profiler.cpus, graph.width, waits)
        times = []
        for name, costs in self._local.items():
            for count in [1] if name == BASELINE else counts:
                seconds = _predicted(
                    graph, count, model, model.machines[name], costs, payload, factor
                )
                where = name if name == BASELINE else f"{name} with {count}"
                times.append((seconds, count, where))
        best_s = min(times)[0]
        _, _, where = min(
            (one for one in times if one[0] <= best_s * (1 + INDIFFERENCE)), key=itemgetter(1)
        )
        return best_s, where


def _predicted(
    graph: Graph,
    workers: int,
    model: TaskModel,
    machine: Machine,
    costs: Costs,
    payload: Payload,
    factor: float,
) -> float:
    """Seconds of the graph with tasks that are `factor` times as long, and hand on values."""
    value_s = costs.value_s[payload]

    def demand(task: Task) -> Demand:
        alone = model.demand(task)
        return Demand(factor * alone.seconds + value_s, alone.cpu, alone.gil)

    return simulated_s(graph, workers, demand, machine, costs.overheads)


def value_costs(pool: Backend, payloads: Sequence[Payload]) -> dict[Payload, float]:
    """Seconds that a task takes longer for a value that it makes, hands on, and gets.

    From a stencil of empty tasks, in which most values have three readers, compared with the same
    one without values.
    """
    shape = sized_shape(f"stencil:steps={VALUE_STEPS}:width={2 * pool.workers}")

    def run_s(payload: Payload) -> float:
        work = Work("noop", 0, payload)
        graph = Graph(Task(name, work, needs) for name, needs in shape.needs.items())
        wall_s(graph, pool)  # once for nothing: modules, memory
        return median(wall_s(graph, pool) for _ in range(REPEATS))

    empty_s = run_s(NOTHING)
    share = pool.workers / len(shape.needs)
    return {
        payload: max(0.0, run_s(payload) - empty_s) * share if payload.size else 0.0
        for payload in payloads
    }
