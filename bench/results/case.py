"""`Case`: one thing to measure, and what speedups are measured against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.workloads.own_graphs import OWN_TASKS
from executors.backends import SEQUENTIAL, SIMULATED
from executors.backends import STACK as STACK

BASELINE = SEQUENTIAL  # the backend whose runs are the yardstick of all others
STACK_BASELINE = f"{STACK}default"  # and that of ZenML stacks: ZenML's own local orchestrator
BASELINES = (BASELINE, STACK_BASELINE)


class PoolKey(NamedTuple):
    """What is started anew in each block."""

    backend: str
    workers: int
    python: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A shape with a kernel, on a backend with a number of workers.

    Attributes:
        python: what runs it, if several are compared; else empty.
    """

    shape: str
    kernel: str
    backend: str
    workers: int
    python: str = ""

    def __str__(self) -> str:
        return f"{self.subject}, {self.where}"

    @property
    def subject(self) -> str:
        """What is run: the shape and what its tasks do, or the user's own graph."""
        return self.shape if self.kernel == OWN_TASKS else f"{self.shape}, {self.kernel}"

    @property
    def where(self) -> str:
        """The backend and its workers, of which a baseline always has one, and the Python."""
        workers = "" if self.is_baseline else f" with {self.workers}"
        return f"{self.name}{workers}{self._on_python}"

    @property
    def name(self) -> str:
        """That of the backend or stack, for people."""
        return self.backend.removeprefix(STACK)

    @property
    def line(self) -> str:
        """The backend and the Python: what has a curve of its own."""
        return f"{self.name}{self._on_python}"

    @property
    def _on_python(self) -> str:
        return f" on {self.python}" if self.python else ""

    @property
    def pool(self) -> PoolKey:
        return PoolKey(self.backend, self.workers, self.python)

    @property
    def is_baseline(self) -> bool:
        """What the same Python does one task after the other."""
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
