"""`Case`: one thing to measure, and what speedups are measured against."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.workloads.own_graphs import OWN_TASKS
from executors.backends import SEQUENTIAL, SIMULATED
from executors.backends import STACK as STACK

BASELINE = SEQUENTIAL  # the backend whose runs are the yardstick of all others
STACK_BASELINE = f"{STACK}default"  # and that of ZenML stacks: ZenML's own local orchestrator
BASELINES = (BASELINE, STACK_BASELINE)

PoolKey = tuple[str, int]  # backend and workers


@dataclass(frozen=True, slots=True)
class Case:
    """A shape with a kernel, on a backend with a number of workers."""

    shape: str
    kernel: str
    backend: str
    workers: int

    def __str__(self) -> str:
        return f"{self.subject}, {self.where}"

    @property
    def subject(self) -> str:
        """What is run: the shape and what its tasks do, or the user's own graph."""
        return self.shape if self.kernel == OWN_TASKS else f"{self.shape}, {self.kernel}"

    @property
    def where(self) -> str:
        """The backend and its workers, of which a baseline always has one."""
        return self.name if self.is_baseline else f"{self.name} with {self.workers}"

    @property
    def name(self) -> str:
        """That of the backend or stack, for people."""
        return self.backend.removeprefix(STACK)

    @property
    def pool(self) -> PoolKey:
        return self.backend, self.workers

    @property
    def is_baseline(self) -> bool:
        """Speedups of the same shape and kernel are measured against it."""
        return self.backend in BASELINES

    @property
    def is_stack(self) -> bool:
        """It runs as a ZenML pipeline."""
        return self.backend.startswith(STACK)

    @property
    def baseline(self) -> Case:
        """The case that its speedup is measured against."""
        return replace(self, backend=STACK_BASELINE if self.is_stack else BASELINE, workers=1)

    @property
    def is_simulated(self) -> bool:
        """Nothing runs: it gives the time on an ideal machine with as many cores as workers."""
        return self.backend == SIMULATED
