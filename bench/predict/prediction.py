"""How long a graph takes on each backend: measured parts, combined by the simulated backend.

Nothing of the graph itself has to run for it::

    loops of the tasks' work, alone     length of a task, and its share of a core
      in 1 ... cpus processes           joint speed of the cores
      in cpus threads                   share of a task that needs the interpreter lock
    runs of empty tasks and of sleeps   what a backend adds to a run, a task, a wake-up

The loops are measured in rounds, because two CPUs may be two cores now and two threads of one core
a second later. A makespan adds up the effects of such moments, so their mean counts, without those
that something else disturbed: the interquartile mean of the rounds. Of loops side by side one may
be on the faster core; in a run that worker gets more tasks, so loops count by their speeds (the
harmonic mean of their times). The share of a task that needs the lock is the median over the
rounds, each of which compares threads with processes at that moment. A prediction has a range, from
the fastest loops to the slowest, which shows how steady the machine was. Overheads are measured
once per backend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, harmonic_mean, median

from bench.machine.timing import loops, wall_s
from bench.results.case import BASELINE
from bench.workloads.kernels import Work
from bench.workloads.shapes import sized as sized_shape
from executors import Backend, Graph, Task, load_backend, run
from executors.backends import SIMULATED, backend_class
from executors.backends.simulated import Overheads
from executors.contention import Demand, Machine, stretches
from executors.cpus import has_interpreter_lock

ROUNDS = 8
LOOP_S = 0.08  # length of a loop
EMPTY_TASKS = 400
SLEEP_S = 0.001
SLEEP_STEPS = 20
REPEATS = 5  # of the runs that overheads are measured with
BISECTIONS = 30
LEAST_CPU = 0.05  # a smaller share of a core counts as waiting
LEAST_LOCK = 0.05  # by how much more threads must take than processes to blame the lock


@dataclass(frozen=True, slots=True)
class ProfileRound:
    """The loops of one round, in seconds per task.

    Attributes:
        alone_s: of a task that runs alone.
        cpu: the share of that time in which it keeps a core busy.
        processes_s: of a task while several run in processes, by their number.
        threads_s: of a task while as many as CPUs run in threads, or None.
    """

    alone_s: float
    cpu: float
    processes_s: Mapping[int, float]
    threads_s: float | None

    def stretched(self) -> dict[int, float]:
        """The times in processes, over the time alone."""
        return {number: task_s / self.alone_s for number, task_s in self.processes_s.items()}


@dataclass(frozen=True, slots=True)
class KernelProfile:
    """A kind of work on this machine.

    Attributes:
        factor: length of a task over the length that it should have.
        cpu, gil: the shares of a task that need a core, and the interpreter lock.
        cores: joint speeds of busy cores; see `Machine`.
        lock: joint speeds of threads that want the lock; see `Machine`.
    """

    factor: float
    cpu: float
    gil: float
    cores: tuple[float, ...]
    lock: tuple[float, ...]

    def machine(self, backend: str) -> Machine:
        """The capacity that the workers of a backend share."""
        return Machine(self.cores, self.lock if takes_turns(backend) else ())


def takes_turns(backend: str) -> bool:
    """Whether the workers of a backend share an interpreter lock, on this Python."""
    return backend_class(backend).shares_interpreter and has_interpreter_lock()


@dataclass(frozen=True, slots=True)
class TaskModel:
    """A model of the tasks of a graph, from one round of measurements.

    Attributes:
        demand: what each task needs.
        machines: the capacity that workers share, by backend.
    """

    demand: Callable[[Task], Demand]
    machines: Mapping[str, Machine]


def measure_round(
    work: Work, length_s: float, separate: Backend | None, shared: Backend | None
) -> ProfileRound:
    """Measures loops of a kind of work, alone and side by side.

    Args:
        length_s: about how long a task of this work is. Of a task longer than a loop, only a part
            is done.
        separate: warm workers with interpreters of their own, one per CPU, or None.
        shared: warm threads that share an interpreter lock, one per CPU, or None.
    """
    count = max(1, round(LOOP_S / length_s))
    part = min(1.0, LOOP_S / length_s)
    work = work.times(part)
    cpu, alone_s = _alone(work, count)
    alone = [alone_s]
    processes_s: dict[int, float] = {}
    threads_s = None
    if separate is not None:
        alone.append(_task_s(separate, work, count, 1))
        for number in _counts(separate.workers):
            processes_s[number] = _task_s(separate, work, count, number) / part
    if shared is not None and shared.workers > 1:
        threads_s = _task_s(shared, work, count, shared.workers) / part
        alone.append(_task_s(shared, work, count, 1))
    return ProfileRound(median(alone) / part, cpu, processes_s, threads_s)


def interquartile_mean(values: Iterable[float]) -> float:
    """The mean of the middle half of the values, with their number rounded up."""
    ordered = sorted(values)
    outer = len(ordered) // 4
    return fmean(ordered[outer : len(ordered) - outer])


def profile_of(
    rounds: Sequence[ProfileRound],
    length_s: float,
    cpus: int,
    of: Callable[[list[float]], float] = interquartile_mean,
) -> KernelProfile:
    """The profile that follows from several rounds.

    Args:
        of: combines the times of all rounds into one; min and max give the ends of the range.
    """
    cpu = median(sample.cpu for sample in rounds)
    cpu = 0.0 if cpu < LEAST_CPU else cpu
    alone_s = of([sample.alone_s for sample in rounds])
    counts = rounds[0].processes_s if cpu else ()
    stretched = {
        number: of([sample.processes_s[number] for sample in rounds]) / alone_s for number in counts
    }
    cores = _cores(stretched, cpu, cpus)
    gil = 0.0
    lock: tuple[float, ...] = (1.0, 1.0)
    locks = [
        lock_of(cpu, _cores(sample.stretched(), cpu, cpus), cpus, sample.threads_s / sample.alone_s)
        for sample in rounds
        if cpu and sample.threads_s is not None
    ]
    if locks:
        gil = median(part for part, _ in locks)
        lock = (1.0, median(speeds[1] for _, speeds in locks))
    return KernelProfile(alone_s / length_s, cpu, gil, cores, lock)


def _cores(stretched: Mapping[int, float], cpu: float, cpus: int) -> tuple[float, ...]:
    speeds = {number: speed_of(cpu, number, times) for number, times in stretched.items()}
    return _between(speeds, cpus)


def speed_of(cpu: float, number: int, stretched: float) -> float:
    """The joint speed of cores on which `number` tasks take `stretched` times as long as alone.

    Tasks that also wait leave cores idle at times, so they show it only in part.
    """
    on_core = max(1.0, 1 + (stretched - 1) / cpu)
    return number / on_core


def _alone(work: Work, count: int) -> tuple[float, float]:
    """The share of its time in which a task in this thread keeps a core busy, and that time."""
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    for _ in range(count):
        work()
    took_s = time.perf_counter() - began_s
    return min(1.0, (time.thread_time() - began_cpu_s) / took_s), took_s / count


def _task_s(pool: Backend, work: Work, count: int, number: int) -> float:
    """Seconds per task while `number` loops run."""
    attempts = loops(pool, work, count, number)
    return harmonic_mean(attempt.duration_s for attempt in attempts) / count


def _counts(cpus: int) -> list[int]:
    """2, 4, 8 ... and the CPU count."""
    return sorted({2**power for power in range(1, cpus.bit_length())} | ({cpus} - {1}))


def _between(speeds: Mapping[int, float], cpus: int) -> tuple[float, ...]:
    """The joint speed of each number of cores, interpolated linearly between measured ones."""
    known = {1: 1.0, cpus: float(cpus)} | dict(speeds)
    interpolated = []
    for number in range(1, cpus + 1):
        low = max(count for count in known if count <= number)
        high = min(count for count in known if count >= number)
        part = (number - low) / (high - low) if high > low else 0.0
        interpolated.append(known[low] + part * (known[high] - known[low]))
    return tuple(interpolated)


def lock_of(
    cpu: float, cores: tuple[float, ...], threads: int, stretched: float
) -> tuple[float, tuple[float, ...]]:
    """The share of a task that needs the lock, and the joint speed of threads that want it.

    Args:
        stretched: time of a task while `threads` of them run side by side, over its time alone.
    """

    def stretch(gil: float) -> float:
        return stretches(Machine(cores, (1.0, 1.0)), [(cpu, gil)], [threads])[0]

    gil = lock_part(stretch, stretched, cpu)
    if gil < cpu:
        return gil, (1.0, 1.0)
    return cpu, (1.0, min(1.0, stretch(cpu) / stretched))  # handing it over takes time as well


def lock_part(predicted: Callable[[float], float], measured: float, cpu: float) -> float:
    """The share of a task that needs the lock, judging by how long threads took.

    Args:
        predicted: how long they would take for a given share.
        measured: how long they took.
    """
    if measured <= predicted(0.0) * (1 + LEAST_LOCK):  # cores alone explain it
        return 0.0
    if predicted(cpu) <= measured:
        return cpu
    return bisected(predicted, measured, cpu)


def bisected(rising: Callable[[float], float], wanted: float, most: float) -> float:
    """The argument between 0 and `most` at which a rising function has a value."""
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def overheads(pool: Backend) -> Overheads:
    """What a warm backend adds to the tasks, from runs of empty tasks and of short sleeps."""
    empty = Work("noop", 0)
    one = Graph([Task("one", empty)])
    many = Graph(Task(f"task{index}", empty) for index in range(EMPTY_TASKS))
    steps = sized_shape(f"stencil:steps={SLEEP_STEPS}:width={pool.workers}")
    short = Graph(Task(name, Work("sleep", SLEEP_S), needs) for name, needs in steps.needs.items())
    run_s = median(wall_s(one, pool) for _ in range(2 * REPEATS))
    task_s = median(wall_s(many, pool) - run_s for _ in range(REPEATS)) / EMPTY_TASKS
    task_s = max(0.0, task_s)
    if pool.name == BASELINE:
        return Overheads(run_s, task_s)
    waits_s = []
    for _ in range(REPEATS):
        began_s = time.monotonic()
        report = run(short, pool, keep="none")
        took_s = time.monotonic() - began_s
        span_s = short.span_s({name: record.duration_s for name, record in report.tasks.items()})
        waits_s.append((took_s - run_s - span_s) / SLEEP_STEPS - pool.workers * task_s)
    return Overheads(run_s, task_s, max(0.0, median(waits_s)))


def simulated_s(
    graph: Graph,
    workers: int,
    demand: Callable[[Task], Demand],
    machine: Machine,
    costs: Overheads,
) -> float:
    """The simulated makespan of a graph; infinite if a task would overrun its timeout."""
    backend = load_backend(SIMULATED, workers, demand=demand, machine=machine, overheads=costs)
    report = run(graph, backend, keep="none")
    return report.makespan_s if report.succeeded else float("inf")
