"""Whether a stack can run here, found out without running anything on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.stack import Stack

from executors.errors import BackendError
from executors.spelling import instead

if TYPE_CHECKING:
    from zenml.models import StackResponse

OURS = ("local_threaded", "local_process")  # flavors with a number of workers
NEEDS_DOCKER = ("local_docker",)


def stack_names() -> list[str]:
    """The registered stacks, `default` first."""
    names = [stack.name for stack in Client().list_stacks(size=1000).items]
    return sorted(names, key=lambda name: (name != "default", name))


def flavor_of(stack: StackResponse) -> str:
    """The flavor of a stack's orchestrator."""
    (orchestrator,) = stack.components[StackComponentType.ORCHESTRATOR]
    return str(orchestrator.flavor_name)


def flavor_of_stack(name: str) -> str:
    """The flavor of the orchestrator of a registered stack.

    Raises:
        KeyError: there is no such stack.
    """
    return flavor_of(Client().get_stack(name, allow_name_prefix_match=False))


class StackFacts(NamedTuple):
    """A registered stack.

    Attributes:
        flavor: of its orchestrator.
        max_workers: of its orchestrator, or None if it has no such thing.
        unusable: why it cannot be measured here, or None.
    """

    name: str
    flavor: str
    max_workers: int | None
    unusable: str | None


def stack_facts() -> list[StackFacts]:
    """All registered stacks; runs nothing.

    Raises:
        BackendError: ZenML's store cannot be read.
    """
    try:
        models = {
            stack.name: stack for stack in Client().list_stacks(size=1000, hydrate=True).items
        }
    except Exception as error:
        raise BackendError(
            f"ZenML's store cannot be read: {_line(error)}; see: zenml status"
        ) from error
    facts = []
    for name in sorted(models, key=lambda name: (name != "default", name)):
        reason = why_unusable(name)
        workers = max_workers_of(models[name]) if reason is None else None
        facts.append(StackFacts(name, flavor_of(models[name]), workers, reason))
    return facts


def max_workers_of(model: StackResponse) -> int | None:
    """The `max_workers` of a stack's orchestrator, or None if it has no such thing."""
    if flavor_of(model) not in OURS:
        return None
    workers: int = Stack.from_model(model).orchestrator.config.max_workers  # type: ignore[attr-defined]
    return workers


def why_unusable(name: str) -> str | None:
    """Why pipelines cannot run on a stack here, and what to do; None if nothing speaks against it.

    What only shows on the other side, such as expired credentials, is found out by running.
    """
    try:
        model = Client().get_stack(name, allow_name_prefix_match=False)
    except KeyError:
        known = stack_names()
        return f"no stack of this name is registered; {instead(name, known, 'registered')}"
    except Exception as error:
        return f"ZenML's store cannot be read: {_line(error)}; see: zenml status"
    flavor = flavor_of(model)
    try:
        stack = Stack.from_model(model)
    except Exception as error:  # of any component
        if missing := _integrations(model):
            return f"what it needs is not installed; run: zenml integration install {missing}"
        return f"it cannot be loaded: {_line(error)}"
    orchestrator, store = stack.orchestrator.config, stack.artifact_store.config
    if flavor in NEEDS_DOCKER and (reason := _no_docker()) is not None:
        return reason
    if orchestrator.is_remote and store.is_local:
        return (
            f"its orchestrator ({flavor}) runs elsewhere, but its artifact store"
            f" ({stack.artifact_store.name}) is a folder of this machine; register a remote one:"
            " zenml artifact-store register --help"
        )
    try:
        stack.validate()
    except Exception as error:
        return f"ZenML refuses it: {_line(error)}"
    return None


def _integrations(model: StackResponse) -> str:
    """The integrations of ZenML that the components of a stack need, and that are not installed."""
    from zenml.integrations.registry import integration_registry

    names = {
        str(component.integration)
        for components in model.components.values()
        for component in components
    }
    known = integration_registry.integrations
    missing = sorted(name for name in names & known.keys() if not known[name].check_installation())
    return " ".join(missing)


def _no_docker() -> str | None:
    """Why no container can be started here, or None."""
    try:
        import docker
    except ImportError:
        return "it needs the package docker: pip install docker"
    try:
        docker.from_env(timeout=5).ping()
    except Exception as error:
        return (
            f"no Docker daemon answers ({_line(error)}); start one, or set DOCKER_HOST to the"
            " socket of another"
        )
    return None


def _line(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{text[:200]}..." if len(text) > 200 else text or type(error).__name__
