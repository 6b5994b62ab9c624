"""What a graph would take on each backend: measured parts, put together on the simulated one.

Nothing of the graph itself has to be run for it::

    loops of the tasks' work, alone     how long a task is, and for how much of it it needs a core
      in 1 ... cpus processes           how fast the cores are together
      in cpus threads                   how much of a task needs the interpreter lock
    runs of empty tasks, of sleeps      what a backend adds to a run, a task, a wake-up

The loops are measured in rounds, because two CPUs may be two cores now and two threads of one core
a second later. A makespan adds up what such moments take, so what counts is their mean, without
those that something else disturbed: the mean of the middle half of the rounds. Of loops side by
side one may be on the faster core; in a run that worker gets more tasks, so they count by their
speeds (the harmonic mean of their times). How much of a task needs the lock is the median of what
each round says, which compares threads with processes at that moment. A prediction has a range,
from the fastest loops to the slowest, which shows how steady the machine was. Overheads are
measured once for each backend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, harmonic_mean, median

from bench.machine.ceiling import loops
from bench.workloads.kernels import Work
from bench.workloads.shapes import sized as sized_shape
from executors import Backend, Graph, Task, load_backend, run
from executors.backends import SEQUENTIAL, SIMULATED
from executors.backends.simulated import Overheads
from executors.contention import Demand, Machine, stretches

ROUNDS = 8
LOOP_S = 0.08  # of a loop
EMPTY_TASKS = 400
SLEEP_S = 0.001
SLEEP_STEPS = 20
REPEATS = 5  # of the runs that overheads are measured with
BISECTIONS = 30
LEAST_CPU = 0.05  # below this part a task waits
LEAST_LOCK = 0.05  # how much longer threads must take than processes for it to be the lock


@dataclass(frozen=True, slots=True)
class Round:
    """The loops of one round, in seconds for a task.

    Attributes:
        alone_s: of a task that runs alone.
        cpu: the part of it that keeps a core busy.
        processes_s: of one of so many tasks at once, each in a process.
        threads_s: of one of as many as there are CPUs, in threads, or None.
    """

    alone_s: float
    cpu: float
    processes_s: Mapping[int, float]
    threads_s: float | None

    def stretched(self) -> dict[int, float]:
        """How many times as long as alone, in processes."""
        return {number: each_s / self.alone_s for number, each_s in self.processes_s.items()}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work on this machine.

    Attributes:
        factor: length of a task over the length that it should have.
        cpu, gil: the parts of a task that need a core, and the lock.
        cores: see `Machine`.
        lock: the same of threads that want the interpreter lock.
    """

    factor: float
    cpu: float
    gil: float
    cores: tuple[float, ...]
    lock: tuple[float, ...]

    def machine(self, backend: str) -> Machine:
        """What the workers of a backend share."""
        return Machine(self.cores, self.lock if backend == "threads" else ())


@dataclass(frozen=True, slots=True)
class View:
    """What a round of measuring says of the tasks of one graph.

    Attributes:
        demand: what each task takes.
        machines: what the workers share, by backend.
    """

    demand: Callable[[Task], Demand]
    machines: Mapping[str, Machine]


def look(pools: Mapping[str, Backend], work: Work, length_s: float) -> Round:
    """Measures loops of a kind of work, on processes and threads if there are pools of them.

    Args:
        pools: by backend; each has as many workers as there are CPUs, and is warm.
        length_s: about how long a task of this work is; of longer ones than a loop only a part
            is done.
    """
    count = max(1, round(LOOP_S / length_s))
    part = min(1.0, LOOP_S / length_s)
    work = work.times(part)
    cpu, alone_s = _alone(work, count)
    alone = [alone_s]
    processes_s: dict[int, float] = {}
    threads_s = None
    if (pool := pools.get("processes")) is not None:
        alone.append(_task_s(pool, work, count, 1))
        for number in _counts(pool.workers):
            processes_s[number] = _task_s(pool, work, count, number) / part
    if (pool := pools.get("threads")) is not None and pool.workers > 1:
        threads_s = _task_s(pool, work, count, pool.workers) / part
        alone.append(_task_s(pool, work, count, 1))
    return Round(median(alone) / part, cpu, processes_s, threads_s)


def usual_of(values: Iterable[float]) -> float:
    """The interquartile mean: of the middle half, rounded up."""
    ordered = sorted(values)
    outer = len(ordered) // 4
    return fmean(ordered[outer : len(ordered) - outer])


def kind_of_work(
    rounds: Sequence[Round],
    length_s: float,
    cpus: int,
    of: Callable[[list[float]], float] = usual_of,
) -> Kind:
    """What several looks say together.

    Args:
        of: makes one time of those of all rounds; min and max give the ends of the range.
    """
    cpu = median(each.cpu for each in rounds)
    cpu = 0.0 if cpu < LEAST_CPU else cpu
    alone_s = of([each.alone_s for each in rounds])
    counts = rounds[0].processes_s if cpu else ()
    stretched = {
        number: of([each.processes_s[number] for each in rounds]) / alone_s for number in counts
    }
    cores = _cores(stretched, cpu, cpus)
    gil = 0.0
    lock: tuple[float, ...] = (1.0, 1.0)
    locks = [
        lock_of(cpu, _cores(each.stretched(), cpu, cpus), cpus, each.threads_s / each.alone_s)
        for each in rounds
        if cpu and each.threads_s is not None
    ]
    if locks:
        gil = median(each for each, _ in locks)
        lock = (1.0, median(speeds[1] for _, speeds in locks))
    return Kind(alone_s / length_s, cpu, gil, cores, lock)


def _cores(stretched: Mapping[int, float], cpu: float, cpus: int) -> tuple[float, ...]:
    speeds = {number: speed_of(cpu, number, each) for number, each in stretched.items()}
    return _between(speeds, cpus)


def speed_of(cpu: float, number: int, stretched: float) -> float:
    """How fast so many cores are together, if tasks on them take so many times as long as alone.

    Tasks that wait as well leave cores idle at times, so they show it only in part.
    """
    on_core = max(1.0, 1 + (stretched - 1) / cpu)
    return number / on_core


def _alone(work: Work, count: int) -> tuple[float, float]:
    """The part of its time that a task in this thread keeps a core busy, and that time."""
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    for _ in range(count):
        work()
    took_s = time.perf_counter() - began_s
    return min(1.0, (time.thread_time() - began_cpu_s) / took_s), took_s / count


def _task_s(pool: Backend, work: Work, count: int, number: int) -> float:
    """Seconds of a task while so many loops run."""
    return harmonic_mean(each.duration_s for each in loops(pool, work, count, number)) / count


def _counts(cpus: int) -> list[int]:
    """2, 4, 8 ... and the CPU count."""
    return sorted({2**power for power in range(1, cpus.bit_length())} | ({cpus} - {1}))


def _between(speeds: Mapping[int, float], cpus: int) -> tuple[float, ...]:
    """The speed of each number of cores, on straight lines between the measured ones."""
    known = {1: 1.0, cpus: float(cpus)} | dict(speeds)
    found = []
    for number in range(1, cpus + 1):
        low = max(each for each in known if each <= number)
        high = min(each for each in known if each >= number)
        part = (number - low) / (high - low) if high > low else 0.0
        found.append(known[low] + part * (known[high] - known[low]))
    return tuple(found)


def lock_of(
    cpu: float, cores: tuple[float, ...], threads: int, stretched: float
) -> tuple[float, tuple[float, ...]]:
    """The part of a task that needs the lock, and the speed of threads that want it.

    Args:
        stretched: how many times as long as one alone so many threads take side by side.
    """

    def stretch(gil: float) -> float:
        return stretches(Machine(cores, (1.0, 1.0)), [(cpu, gil)], [threads])[0]

    gil = lock_part(stretch, stretched, cpu)
    if gil < cpu:
        return gil, (1.0, 1.0)
    return cpu, (1.0, min(1.0, stretch(cpu) / stretched))  # handing it over costs something as well


def lock_part(takes: Callable[[float], float], taken: float, cpu: float) -> float:
    """The part of a task that needs the lock, from how long threads have taken.

    Args:
        takes: how long they would, if it were so much.
    """
    if taken <= takes(0.0) * (1 + LEAST_LOCK):  # no longer than cores alone explain
        return 0.0
    if takes(cpu) <= taken:
        return cpu
    return bisected(takes, taken, cpu)


def bisected(rising: Callable[[float], float], wanted: float, most: float) -> float:
    """The argument between 0 and `most` at which a rising function has a value."""
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def overheads(pool: Backend) -> Overheads:
    """What a warm backend adds to the tasks, from runs of empty ones and of short sleeps."""
    empty = Work("noop", 0)
    one = Graph([Task("one", empty)])
    many = Graph(Task(f"task{index}", empty) for index in range(EMPTY_TASKS))
    steps = sized_shape(f"stencil:steps={SLEEP_STEPS}:width={pool.workers}")
    short = Graph(Task(name, Work("sleep", SLEEP_S), needs) for name, needs in steps.needs.items())
    run_s = median(_wall_s(one, pool) for _ in range(2 * REPEATS))
    task_s = median(_wall_s(many, pool) - run_s for _ in range(REPEATS)) / EMPTY_TASKS
    task_s = max(0.0, task_s)
    if pool.name == BASELINE:
        return Overheads(run_s, task_s)
    waits_s = []
    for _ in range(REPEATS):
        began_s = time.monotonic()
        report = run(short, pool, keep="none")
        took_s = time.monotonic() - began_s
        span_s = short.span_s({name: each.duration_s for name, each in report.tasks.items()})
        waits_s.append((took_s - run_s - span_s) / SLEEP_STEPS - pool.workers * task_s)
    return Overheads(run_s, task_s, max(0.0, median(waits_s)))


def _wall_s(graph: Graph, pool: Backend) -> float:
    began_s = time.monotonic()
    run(graph, pool, keep="none").raise_for_failures()
    return time.monotonic() - began_s


def simulated_s(
    graph: Graph,
    workers: int,
    demand: Callable[[Task], Demand],
    machine: Machine,
    costs: Overheads,
) -> float:
    """The makespan of the graph, simulated; infinite if a task took longer than it may."""
    backend = load_backend(SIMULATED, workers, demand=demand, machine=machine, overheads=costs)
    report = run(graph, backend, keep="none")
    return report.makespan_s if report.succeeded else float("inf")
