"""How a run ended, for its user: a summary, run metadata, and the exception to raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from executors.core.policy import FailurePolicy
from executors.core.records import Attempt, RunReport, Status, TaskRecord
from executors.errors import TaskStopped
from executors.zenml.process.interrupts import StepNotStarted

if TYPE_CHECKING:
    from zenml.metadata.metadata_types import MetadataType

    from executors.core.graph import Graph


@dataclass(frozen=True)
class Outcome:
    """How the steps ended, and how much time running them in parallel saved.

    A step's time is the sum of its attempts, including ZenML's own work for it and its waiting for
    the interpreter lock and the store. So the speedup is an upper bound, far above the real one if
    many short steps compete.

    Attributes:
        failed: records of the steps that failed, the earliest failure first.
        stopped: names of the steps that the stop ended, or whose next retry it prevented.
        not_started: names of the steps that never started.
        started: number of steps that did start.
        wall_s: seconds of the whole run, including retry delays and waiting for other runs.
        steps_s: sum of the steps' seconds.
        critical_path_s: seconds of the longest chain of dependent steps.
    """

    max_workers: int
    policy: FailurePolicy
    failed: list[TaskRecord]
    stopped: list[str]
    not_started: list[str]
    started: int
    wall_s: float
    steps_s: float
    critical_path_s: float

    @classmethod
    def of(
        cls,
        report: RunReport,
        graph: Graph,
        policy: FailurePolicy,
        times_s: Mapping[str, float],
    ) -> Outcome:
        """Reads a report; `times_s` are the seconds that each step took, by name."""
        failed = [record for record in report.failures if _is_final(record.attempts[-1])]
        stopped = []
        not_started = []
        for name, record in report.tasks.items():
            # also true without any attempt
            if all(isinstance(attempt.error, StepNotStarted) for attempt in record.attempts):
                not_started.append(name)
            elif record.status is not Status.SUCCEEDED and not _is_final(record.attempts[-1]):
                stopped.append(name)
        return cls(
            max_workers=report.workers,
            policy=policy,
            failed=failed,
            stopped=stopped,
            not_started=not_started,
            started=len(report.tasks) - len(not_started),
            wall_s=report.makespan_s,
            steps_s=graph.work_s(times_s),
            critical_path_s=graph.span_s(times_s),
        )

    @property
    def speedup(self) -> float:
        """Upper bound of the speedup over running one step after another."""
        return self.steps_s / self.wall_s if self.wall_s else 1.0

    @property
    def critical_path_share(self) -> float:
        """The share of the wall time that no number of workers can save."""
        return self.critical_path_s / self.wall_s if self.wall_s else 1.0

    def line(self) -> str:
        """One line for the end of a run."""
        steps = f"{self.started} step" + ("s" if self.started != 1 else "")
        workers = f"{self.max_workers} worker" + ("s" if self.max_workers != 1 else "")
        return (
            f"{steps} in {self.wall_s:.2f} s on {workers}; step times add up to"
            f" {self.steps_s:.2f} s (speedup at most {self.speedup:.2f}); the critical path took"
            f" {100 * self.critical_path_share:.0f} % of the wall time."
        )

    def metadata(self) -> dict[str, MetadataType]:
        """The same as metadata of the pipeline run."""
        return {
            "max_workers": self.max_workers,
            "steps": self.started,
            "wall_time_s": round(self.wall_s, 3),
            "sum_of_step_times_s": round(self.steps_s, 3),
            "speedup": round(self.speedup, 3),
            "critical_path_s": round(self.critical_path_s, 3),
            "critical_path_share": round(self.critical_path_share, 3),
        }

    def losses(self) -> str | None:
        """The steps that did not succeed, and how they ended, or None."""
        parts = []
        if self.failed:
            parts.append("failed: " + ", ".join(record.name for record in self.failed))
        if self.stopped:
            parts.append("stopped: " + ", ".join(self.stopped))
        if self.not_started:
            parts.append("not started: " + ", ".join(self.not_started))
        return f"Steps {'; '.join(parts)} (execution mode {self.policy.name})." if parts else None

    def raise_for_failures(self) -> None:
        """Raises the exception of a failed pipeline; does nothing if no step failed.

        Raises:
            BaseException: that of the step that failed first, if the policy stops the others.
            RuntimeError: otherwise, with the names of the steps that failed.
        """
        if not self.failed:
            return
        first = self.failed[0].error
        if self.policy.stops_running and first is not None:
            raise first
        raise RuntimeError(
            "Pipeline run has failed due to failure in step(s): "
            + ", ".join(record.name for record in self.failed)
        )


def _is_final(attempt: Attempt) -> bool:
    """Whether a failed attempt was the step's last one; if not, a stop prevented its retry."""
    has_failed = not isinstance(attempt.error, (TaskStopped, StepNotStarted))
    return has_failed and attempt.number > attempt.call.task.retries
