"""The terms of a report, for its pages."""

from __future__ import annotations

GLOSSARY = [
    (
        "Baseline",
        "the sequential backend, which runs one task after the other in the calling thread; of"
        " ZenML stacks, the stack default. Speedups are measured against it.",
    ),
    (
        "Warm",
        "the workers are started and have run such tasks before. All speedups are warm unless they"
        " are called cold.",
    ),
    (
        "Cold",
        "including the start of the workers and, for your own graph, its first run on them.",
    ),
    (
        "Bound of the graph",
        "the largest possible speedup on p workers, however fast the scheduler is: tasks /"
        " max(ceil(tasks / p), depth) with equal tasks, and work / max(work / p, span) with others,"
        " where work is the time of all tasks together and span that of the longest chain.",
    ),
    (
        "Ceiling",
        "what the machine reaches without a scheduler: the combined speed of independent processes"
        " in plain loops, one per core, over that of a single one. Measured in each block.",
    ),
    (
        "Efficiency",
        "the speedup divided by the number of cores that the workers can use or, if tasks wait, by"
        ' the number of workers. "Of the ceiling" is the speedup divided by the ceiling.',
    ),
    ("Cores busy", "CPU time divided by wall time."),
    ("Utilisation", "cores busy divided by the workers."),
    (
        "Where the time went",
        "workers x makespan is all the time that the workers had. It divides into work (what the"
        " same tasks took in the sequential run of the same block), longer (what they took beyond"
        " that: they waited for the interpreter lock or a core, or needed more processor time),"
        " graph (a worker was idle because no task was ready, or long tasks started too late), and"
        " overhead (a task was ready and a worker free, but it had not started; outcomes were on"
        " their way back; tasks failed and were repeated; the run started or ended). A part is"
        " below 0 if the tasks were faster than in the sequential run.",
    ),
    (
        "Critical path",
        "in a timeline, the tasks that determined when the run ended: from the last one back, each"
        " with the task that it waited for last, because it needed its value or its worker.",
    ),
    (
        "Longest chain",
        "tasks that need each other and together take the longest, by the times of the sequential"
        " run. No number of workers makes a run shorter than that.",
    ),
    (
        "Ideal",
        "a simulated run: the tasks take as long as in the sequential run, each worker has a core"
        " of its own, and there is no overhead.",
    ),
    (
        "Computed",
        "for how long a task's own thread used a processor, without threads or processes that the"
        " task starts.",
    ),
]
