"""`bench zenml install`, the flavor's configuration, and which versions of ZenML it accepts."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError
from zenml.client import Client
from zenml.config.schedule import Schedule
from zenml.enums import StackComponentType

import executors.zenml
from bench.cli import main
from executors import usable_cpus
from executors.zenml import LocalThreadedOrchestratorConfig, LocalThreadedOrchestratorFlavor
from executors.zenml.errors import UnsupportedZenML
from tests.executors.zenml.steps import EVENTS, made_of

ROOT = Path(__file__).parents[3]


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["zenml", "install", *arguments])


@pytest.fixture
def clean(threaded: None) -> Iterator[None]:
    client = Client()
    yield
    client.activate_stack("default")
    for stack in client.list_stacks(name="contains:mine").items:
        client.delete_stack(stack.id, recursive=False)
    for component in client.list_stack_components(name="contains:mine").items:
        client.delete_stack_component(component.id, StackComponentType.ORCHESTRATOR)


@pytest.mark.usefixtures("clean")
def test_installing_again_changes_only_what_is_asked_for() -> None:
    assert bench("--stack", "mine").output.splitlines() == [
        "flavor 'local_threaded' was already registered",
        "orchestrator 'mine' registered, max_workers: the CPU count",
        "stack 'mine' registered, with artifact store 'default'",
        "To use it: zenml stack set mine",
    ]
    assert Client().active_stack_model.name != "mine"
    again = bench("--stack", "mine", "--max-workers", "3", "--activate").output.splitlines()
    assert again == [
        "flavor 'local_threaded' was already registered",
        "orchestrator 'mine' updated, max_workers: 3",
        "stack 'mine' was already registered",
        "stack 'mine' is active",
    ]
    assert Client().active_stack_model.name == "mine"
    assert Client().active_stack.orchestrator.config.max_workers == 3  # type: ignore[attr-defined]
    once_more = bench("--stack", "mine").output
    assert "was already registered, max_workers: 3" in once_more
    assert once_more.splitlines()[-1] == "stack 'mine' is active"


@pytest.mark.usefixtures("clean")
def test_something_else_of_that_name_is_left_alone() -> None:
    result = bench("--stack", "default")
    assert result.exit_code == 2
    assert "a stack 'default' with orchestrator 'default' of flavor 'local'" in result.output
    assert "--stack" in result.output
    client = Client()
    client.create_stack_component(
        "mine-local", "local", StackComponentType.ORCHESTRATOR, configuration={}
    )
    result = bench("--stack", "mine-local")
    assert result.exit_code == 2
    assert "an orchestrator 'mine-local' of flavor 'local' is registered" in result.output
    client.create_stack_component(
        "mine-too", "local_threaded", StackComponentType.ORCHESTRATOR, configuration={}
    )
    client.create_stack(
        "mine-other",
        {
            StackComponentType.ORCHESTRATOR: "default",
            StackComponentType.ARTIFACT_STORE: "default",
        },
    )
    result = bench("--stack", "mine-other")
    assert result.exit_code == 2
    assert "a stack 'mine-other' with orchestrator 'default' of flavor 'local'" in result.output


@pytest.mark.usefixtures("clean")
def test_names_are_names_and_no_filters() -> None:
    bench("--stack", "mine", "--max-workers", "2")
    assert (
        "registered, max_workers: 5"
        in bench("--stack", "contains:mine", "--max-workers", "5").output
    )
    assert "max_workers: 2" in bench("--stack", "mine").output


@pytest.mark.usefixtures("clean")
def test_a_store_that_cannot_be_used_is_told_in_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no store")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "list_stacks", fails)
        result = bench("--stack", "mine")
    assert result.exit_code == 2
    assert "Error: ZenML could not register it: RuntimeError: no store." in result.output


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_max_workers_must_be_a_count(workers: str) -> None:
    assert bench("--max-workers", workers).exit_code == 2


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("workers", ["0", "-1", "1.5", "many"])
def test_zenml_refuses_to_register_a_wrong_max_workers(workers: str) -> None:
    with pytest.raises(ValidationError, match="max_workers"):
        Client().create_stack_component(
            "mine",
            "local_threaded",
            StackComponentType.ORCHESTRATOR,
            configuration={"max_workers": workers},
        )


def test_max_workers_is_the_usable_cpus_by_default() -> None:
    assert LocalThreadedOrchestratorConfig().max_workers == usable_cpus()
    assert LocalThreadedOrchestratorConfig(max_workers=4).max_workers == 4


def test_the_flavor_is_local_and_synchronous() -> None:
    flavor = LocalThreadedOrchestratorFlavor()
    config = flavor.config_class()
    assert flavor.name == "local_threaded"
    assert flavor.implementation_class is executors.zenml.LocalThreadedOrchestrator
    assert config.is_local
    assert not config.is_remote
    assert config.is_synchronous


@pytest.mark.usefixtures("threaded")
def test_a_schedule_is_refused_with_what_to_use_instead() -> None:
    schedule = Schedule(start_time=datetime.now(), interval_second=timedelta(hours=1))
    pipeline = made_of({"a": []}).args[0].with_options(schedule=schedule)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="cron"):
        pipeline()
    assert EVENTS == []
    assert Client().list_schedules().total == 0


@pytest.mark.parametrize("version", ["0.97.1", "0.99.0", "1.0.0", None])
def test_other_versions_of_zenml_are_refused_clearly(
    version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(_: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError("zenml")
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    with pytest.raises(UnsupportedZenML, match=re.escape("pip install 'zenml[local]==0.98.*'")):
        importlib.reload(executors.zenml)


def test_the_supported_versions_are_those_that_pip_installs() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert '"zenml[local]>=0.98,<0.99"' in project
    assert executors.zenml.SUPPORTED == "0.98."


def test_only_the_answer_is_on_standard_output(tmp_path: Path) -> None:
    """ZenML has much to say when its store is new."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "zenml", "install", "--format", "json"],
        env={**os.environ, "ZENML_CONFIG_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(done.stdout)["stack"] == "threaded"
    assert "default stack" in done.stderr
    assert "\x1b" not in done.stderr
