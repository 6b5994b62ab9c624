"""The environment variables of steps: resolved before the run, never mixed.

A process has one `os.environ`, and C code and child processes read it too. So steps whose
variables differ never overlap: inside a run they are in different lanes, and between the runs of
a process `PROCESS_ENVIRONMENT` lets only one environment in at a time. It is applied when the
first step enters and taken back exactly when the last one leaves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from zenml.utils.env_utils import get_runtime_environment, get_runtime_secret_environment

from executors.zenml.turns import Turn, Turns, never

if TYPE_CHECKING:
    from zenml.models import PipelineSnapshotResponse
    from zenml.stack import Stack

Environment = Mapping[str, str]

PROCESS_ENVIRONMENT = Turns()


def resolved(snapshot: PipelineSnapshotResponse, stack: Stack) -> dict[str, Environment]:
    """Each step's environment by step name: what settings and secrets give it.

    The variables with which ZenML tells a container how to reach its server are left out: this
    process is connected, and on a server they contain a token that differs from run to run.
    """
    secrets: dict[tuple[str, ...], Environment] = {}
    environments: dict[str, Environment] = {}
    for name, step in snapshot.step_configurations.items():
        key = tuple(str(secret) for secret in step.config.secrets)
        if key not in secrets:
            secrets[key] = get_runtime_secret_environment(config=step.config, stack=stack)
        environments[name] = {**get_runtime_environment(step.config, stack), **secrets[key]}
    return environments


def applied(
    environment: Environment,
    *,
    waits: Callable[[], None],
    gives_up: Callable[[], bool] = never,
) -> Turn:
    """The process has these variables until the turn is left; blocks while it has others.

    Raises:
        TurnGivenUp: `gives_up` returned True while waiting.
    """
    stack = ExitStack()
    return PROCESS_ENVIRONMENT.enter(
        _key(environment),
        first=lambda: stack.enter_context(exactly(environment)),
        last=stack.close,
        waits=waits,
        gives_up=gives_up,
    )


@contextmanager
def exactly(environment: Environment) -> Iterator[None]:
    """Sets variables, and afterwards makes each of them what it was, whatever happened to it."""
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
    """Step names grouped by equal environments, in the order of the first of each group."""
    groups: dict[frozenset[tuple[str, str]], list[str]] = {}
    for name, environment in environments.items():
        groups.setdefault(_key(environment), []).append(name)
    return list(groups.values())


def differing(environments: Sequence[Environment]) -> list[str]:
    """Names of the variables that are not the same in all of these environments, sorted."""
    names = {name for environment in environments for name in environment}
    return sorted(
        name for name in names if len({environment.get(name) for environment in environments}) > 1
    )
