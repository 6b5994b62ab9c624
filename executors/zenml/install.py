"""Registers a flavor, an orchestrator and a stack with ZenML; a repetition changes nothing."""

from __future__ import annotations

from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import ComponentResponse

from executors.errors import ExecutorError
from executors.zenml.errors import InstallError
from executors.zenml.flavor import (
    LocalProcessOrchestratorFlavor,
    LocalThreadedOrchestratorFlavor,
)

FLAVORS = {
    flavor().name: f"executors.zenml.{flavor.__name__}"
    for flavor in (LocalThreadedOrchestratorFlavor, LocalProcessOrchestratorFlavor)
}
ARTIFACT_STORE = "default"


def install(
    name: str,
    max_workers: int | None = None,
    *,
    activate: bool = False,
    flavor: str = "local_threaded",
) -> list[str]:
    """Makes sure that a stack with an orchestrator of ours exists.

    Args:
        name: name of the stack and of its orchestrator.
        max_workers: for the orchestrator; None keeps its setting, which is at first the CPU count.
        activate: whether to make the stack the active one.
        flavor: of the orchestrator: "local_threaded" or "local_process".

    Returns:
        One line each for flavor, orchestrator and stack, and one on how to use it.

    Raises:
        InstallError: another component has that name, or ZenML failed.
    """
    try:
        client = Client()
        _refuse_another_stack(client, name, flavor)
        done = [
            _flavor(client, flavor),
            _orchestrator(client, name, flavor, max_workers),
            _stack(client, name),
        ]
        if activate:
            client.activate_stack(name)
        if client.active_stack_model.name == name:
            done.append(f"stack {name!r} is active")
        else:
            done.append(f"To use it: zenml stack set {name}")
        return done
    except ExecutorError:
        raise
    except Exception as error:
        raise InstallError(
            f"ZenML could not register it: {type(error).__name__}: {error}."
            " Check that its store can be reached: zenml status"
        ) from error


def _flavor(client: Client, name: str) -> str:
    try:
        flavor = client.get_flavor_by_name_and_type(name, StackComponentType.ORCHESTRATOR)
    except KeyError:
        client.create_flavor(FLAVORS[name], StackComponentType.ORCHESTRATOR)
        return f"flavor {name!r} registered"
    if not flavor.source.startswith("executors.zenml."):
        raise InstallError(
            f"another flavor {name!r} is registered, from {flavor.source}."
            f" Delete it first: zenml orchestrator flavor delete {name}"
        )
    return f"flavor {name!r} was already registered"


def _orchestrator(client: Client, name: str, flavor: str, max_workers: int | None) -> str:
    wanted = {} if max_workers is None else {"max_workers": str(max_workers)}
    components = client.list_stack_components(
        name=f"equals:{name}", type=StackComponentType.ORCHESTRATOR, hydrate=True
    ).items
    if not components:
        component = client.create_stack_component(
            name, flavor, StackComponentType.ORCHESTRATOR, configuration=wanted
        )
        return f"orchestrator {name!r} registered, {_workers(component)}"
    (component,) = components
    if component.flavor_name != flavor:
        raise InstallError(
            f"an orchestrator {name!r} of flavor {component.flavor_name!r} is registered."
            " Choose another name with --stack"
        )
    if any(str(component.configuration.get(key)) != value for key, value in wanted.items()):
        component = client.update_stack_component(
            component.id, StackComponentType.ORCHESTRATOR, configuration=wanted
        )
        return f"orchestrator {name!r} updated, {_workers(component)}"
    return f"orchestrator {name!r} was already registered, {_workers(component)}"


def _workers(component: ComponentResponse) -> str:
    return f"max_workers: {component.configuration.get('max_workers', 'the CPU count')}"


def _refuse_another_stack(client: Client, name: str, flavor: str) -> None:
    for stack in client.list_stacks(name=f"equals:{name}", hydrate=True).items:
        (orchestrator,) = stack.components[StackComponentType.ORCHESTRATOR]
        if orchestrator.name != name or orchestrator.flavor_name != flavor:
            raise InstallError(
                f"a stack {name!r} with orchestrator {orchestrator.name!r} of flavor"
                f" {orchestrator.flavor_name!r} is registered. Choose another name with --stack,"
                f" or change that one: zenml orchestrator update {orchestrator.name}"
            )


def _stack(client: Client, name: str) -> str:
    if client.list_stacks(name=f"equals:{name}").items:
        return f"stack {name!r} was already registered"
    client.create_stack(
        name,
        {
            StackComponentType.ORCHESTRATOR: name,
            StackComponentType.ARTIFACT_STORE: ARTIFACT_STORE,
        },
    )
    return f"stack {name!r} registered, with artifact store {ARTIFACT_STORE!r}"
