"""A pipeline's snapshot as a Graph: the steps to run, and what each of them occupies."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from executors import Graph, Task
from executors.zenml.process.environments import Environment, differing, grouped
from executors.zenml.store.history import step_seconds

if TYPE_CHECKING:
    from zenml.config.step_configurations import Step
    from zenml.models import PipelineSnapshotResponse

    from executors.zenml.config import LocalThreadedOrchestratorConfig

logger = logging.getLogger(__name__)


def graph_of(
    snapshot: PipelineSnapshotResponse,
    config: LocalThreadedOrchestratorConfig,
    environments: Mapping[str, Environment],
    launch: Callable[..., None],
) -> Graph:
    """The graph of a snapshot, with slots, contexts and, if the order matters, costs.

    Args:
        snapshot: of the pipeline; it has no cached steps.
        config: of the orchestrator.
        environments: by step name.
        launch: runs a step; called with its name and the values of the steps that it needs.
    """
    steps = snapshot.step_configurations
    context_of = _contexts(environments)
    tasks = [
        Task(
            name,
            partial(launch, name),
            needs=tuple(step.spec.upstream_steps),
            context=context_of.get(name),
            slots=_slots(step) if config.step_resources else 1,
            retries=step.config.retry.max_retries if step.config.retry else 0,
            retry_delay_s=step.config.retry.delay if step.config.retry else 0.0,
            retry_backoff=step.config.retry.backoff if step.config.retry else 1.0,
        )
        for name, step in sorted(steps.items())  # the store has no fixed order
    ]
    if config.step_resources:
        _warn_of_resources(steps)
    graph = Graph(tasks)
    all_fit = not context_of and sum(task.slots for task in tasks) <= config.max_workers
    if snapshot.pipeline is None or graph.width == 1 or all_fit:
        return graph
    costs_s = step_seconds(snapshot.pipeline.id)
    return Graph(replace(task, cost_s=costs_s.get(task.name)) for task in tasks)


def _slots(step: Step) -> int:
    return math.ceil(step.config.resource_settings.cpu_count or 1)


def _warn_of_resources(steps: Mapping[str, Step]) -> None:
    ignored = [
        name
        for name, step in steps.items()
        if (settings := step.config.resource_settings).memory or settings.gpu_count
    ]
    if ignored:
        logger.warning(
            "The memory and GPU settings of step(s) %s are ignored: the steps share this process."
            " Only cpu_count is used: the number of workers that the step occupies.",
            ", ".join(ignored),
        )


def _contexts(environments: Mapping[str, Environment]) -> dict[str, int]:
    """A context for each step, or nothing if all have the same environment."""
    groups = grouped(environments)
    if len(groups) < 2:
        return {}
    logger.info(
        "Steps with different environments do not run at the same time, because a process has only"
        " one environment: %s differ between [%s].",
        ", ".join(differing([environments[names[0]] for names in groups])),
        "] and [".join(", ".join(names) for names in groups),
    )
    return {name: context for context, names in enumerate(groups) for name in names}
