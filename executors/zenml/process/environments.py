"""The environment variables of steps: resolved before the run, never mixed.

A process has one `os.environ`, which C code and child processes read too. So steps whose variables
differ never overlap: inside a run they have different contexts, and between the runs of a process
`PROCESS_ENVIRONMENT` admits only one environment at a time. It is applied with the first hold and
undone exactly with the release of the last one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from zenml.utils.env_utils import get_runtime_environment, get_runtime_secret_environment

from executors.zenml.process.keyed_lock import Hold, KeyedLock, never

if TYPE_CHECKING:
    from zenml.config.pipeline_configurations import PipelineConfiguration
    from zenml.config.step_configurations import StepConfiguration
    from zenml.models import PipelineSnapshotResponse
    from zenml.stack import Stack

Environment = Mapping[str, str]

PROCESS_ENVIRONMENT = KeyedLock()


def resolved(snapshot: PipelineSnapshotResponse, stack: Stack) -> dict[str, Environment]:
    """Each step's environment by step name, from its settings and secrets.

    The variables with which ZenML connects a container to its server are left out: this process is
    connected already, and they contain a token that differs from run to run.
    """
    secrets: dict[tuple[str, ...], Environment] = {}
    environments: dict[str, Environment] = {}
    for name, step in snapshot.step_configurations.items():
        key = tuple(str(secret) for secret in step.config.secrets)
        if key not in secrets:
            secrets[key] = get_runtime_secret_environment(config=step.config, stack=stack)
        environments[name] = {**get_runtime_environment(step.config, stack), **secrets[key]}
    return environments


def environment_of(config: StepConfiguration | PipelineConfiguration, stack: Stack) -> Environment:
    """The variables and secrets of a step or of a pipeline as a whole."""
    return {
        **get_runtime_environment(config, stack),
        **get_runtime_secret_environment(config, stack),
    }


def applied(
    environment: Environment,
    *,
    on_wait: Callable[[], None],
    gives_up: Callable[[], bool] = never,
) -> Hold:
    """Gives the process these variables until the hold is released; blocks while it has others.

    Raises:
        HoldGivenUp: `gives_up` returned True while waiting.
    """
    stack = ExitStack()
    return PROCESS_ENVIRONMENT.acquire(
        _key(environment),
        on_first=lambda: stack.enter_context(exactly(environment)),
        on_last=stack.close,
        on_wait=on_wait,
        gives_up=gives_up,
    )


@contextmanager
def exactly(environment: Environment) -> Iterator[None]:
    """Sets variables, and afterwards restores each of them, whatever was done to it."""
    before = {name: os.environ.get(name) for name in environment}
    try:
        os.environ.update(environment)  # may fail halfway, at a NUL byte
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _key(environment: Environment) -> frozenset[tuple[str, str]]:
    return frozenset(environment.items())


def grouped(environments: Mapping[str, Environment]) -> list[list[str]]:
    """Step names grouped by equal environments; groups are in the order of their first steps."""
    groups: dict[frozenset[tuple[str, str]], list[str]] = {}
    for name, environment in environments.items():
        groups.setdefault(_key(environment), []).append(name)
    return list(groups.values())


def differing(environments: Sequence[Environment]) -> list[str]:
    """Sorted names of the variables that differ between these environments."""
    names = {name for environment in environments for name in environment}
    return sorted(
        name for name in names if len({environment.get(name) for environment in environments}) > 1
    )
