"""Runs that something else starts, and their images."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from zenml.client import Client
from zenml.config import DockerSettings
from zenml.enums import StackComponentType

from bench.measure.options import RunOptions
from bench.measure.plan import FAR_BLOCKS, plan
from bench.workloads.kernels import Work
from executors import BackendError, Graph, Status, Task, load_backend, run
from executors.zenml.stacks import backend
from executors.zenml.stacks.far import WITHOUT_CONTAINERS, settings_of
from tests.executors.zenml.stacks import asynchronous
from tests.executors.zenml.stacks.airflow_stub import load

PAIR = Graph([Task("a", Work("noop", 0)), Task("b", Work("noop", 0), needs=("a",))])
TRIGGER = f"{sys.executable} -m tests.executors.zenml.stacks.asynchronous {{run}}"
ROOT = Path(__file__).parents[4]


def add_stack(name: str, flavor: str, configuration: dict[str, Any]) -> None:
    client = Client()
    kind = StackComponentType.ORCHESTRATOR
    client.create_stack_component(name, flavor, kind, configuration)
    client.create_stack(name, {kind: name, StackComponentType.ARTIFACT_STORE: "default"})


@pytest.fixture(scope="module", autouse=True)
def _stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Stacks `waiting`, whose runs something else starts, and `airflow`."""
    client = Client()
    try:
        client.get_flavor("tested_asynchronous")
    except KeyError:
        client.create_flavor(
            "tests.executors.zenml.stacks.asynchronous.AsynchronousFlavor",
            StackComponentType.ORCHESTRATOR,
        )
    add_stack("waiting", "tested_asynchronous", {})
    dags = str(tmp_path_factory.mktemp("dags"))
    options = {"custom_dag_generator": WITHOUT_CONTAINERS, "dag_output_dir": dags}
    add_stack("airflow", "airflow", options)
    yield


@pytest.fixture(autouse=True)
def _runs_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(asynchronous.WAITS, "1")
    monkeypatch.chdir(ROOT)


def test_a_command_starts_runs() -> None:
    with load_backend("stack:waiting", trigger=TRIGGER) as stack:
        report = run(PAIR, stack)
    assert [record.status for record in report.tasks.values()] == [Status.SUCCEEDED] * 2


def test_a_command_that_fails_ends_the_wait() -> None:
    failing = "sh -c 'echo about {run}; echo no such DAG >&2; exit 3'"
    with (
        pytest.raises(BackendError, match=r"failed with exit code 3.* its last line: no such DAG$"),
        load_backend("stack:waiting", trigger=failing),
    ):
        pass


def test_a_command_that_does_not_exist_is_named() -> None:
    with (
        pytest.raises(BackendError, match=r"does not start: .*'nowhere'"),
        load_backend("stack:waiting", trigger="nowhere {run}"),
    ):
        pass


def test_a_run_that_nothing_starts_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "START_TIMEOUT_S", 0.1)
    with (
        pytest.raises(BackendError, match=r"nothing has started it within 0\.1 s; .*trigger="),
        load_backend("stack:waiting"),
    ):
        pass


def test_steps_run_on_airflows_machine() -> None:
    dags = (
        Client()
        .get_stack_component(StackComponentType.ORCHESTRATOR, "airflow")
        .configuration["dag_output_dir"]
    )
    command = f"{sys.executable} -m tests.executors.zenml.stacks.airflow_stub {dags} {{run}}"
    with load_backend("stack:airflow", trigger=command) as stack:
        report = run(PAIR, stack)
    assert [record.status for record in report.tasks.values()] == [Status.SUCCEEDED] * 2
    assert report.tasks["a"].attempts[-1].ended_s <= report.tasks["b"].attempts[-1].started_s


def test_a_dag_has_the_order_and_the_options_of_its_pipeline(tmp_path: Path) -> None:
    from executors.zenml.stacks import airflow_dag

    tasks = [
        airflow_dag.TaskConfiguration(
            id=name,
            zenml_step_name=name,
            upstream_steps=needs,
            command=["python", "-m", "entrypoint"],
            arguments=["--entrypoint_config_source", "zenml.Entrypoint", "--step_name", name],
            environment={"OF_STEP": name},
        )
        for name, needs in (("it's last", ["first"]), ("first", []))  # ZenML's order is another
    ]
    configuration = airflow_dag.DagConfiguration(
        id="tested",
        tasks=tasks,
        schedule="@once",
        start_date=datetime(2026, 1, 1),
        tags=["some"],
        dag_args={"max_active_tasks": 3},
    )
    with zipfile.ZipFile(tmp_path / "tested.zip", "w") as file:
        file.write(airflow_dag.__file__, "dag.py")
        file.writestr(airflow_dag.CONFIG_FILENAME, configuration.model_dump_json())
    dag = load(tmp_path / "tested.zip")
    assert dag.arguments["schedule"] == "@once"
    assert dag.arguments["max_active_tasks"] == 3
    assert dag.arguments["tags"] == ["some"]
    last, first = dag.tasks
    assert [need.task_id for need in last.needs] == ["first"]
    assert not first.needs
    assert last.bash_command == (
        f"{sys.executable} -m entrypoint --entrypoint_config_source {airflow_dag.ENTRYPOINT}"
        " --step_name 'it'\"'\"'s last'"
    )
    assert last.env["OF_STEP"] == "it's last"
    assert last.env["ZENML_AIRFLOW_RUN_ID"] == "{{ run_id }}"


def test_images_are_settings_of_the_pipeline() -> None:
    waiting, airflow = (Client().get_stack(name) for name in ("waiting", "airflow"))
    assert settings_of(waiting, "run", None) == {}
    built = settings_of(waiting, "run", "some:image")["docker"]
    assert isinstance(built, DockerSettings)
    assert (built.parent_image, built.skip_build) == ("some:image", True)
    ours = settings_of(airflow, "run", None)
    assert ours["orchestrator"] == {"dag_id": "run"}
    assert ours["docker"].skip_build is True  # no container, no image


def test_stacks_with_slow_steps_are_in_the_first_blocks_only() -> None:
    options = RunOptions(stacks="airflow", shapes="diamond", kernel="noop")
    planned = plan(options, 2)
    pools = [[pool.backend for pool, _ in planned.block(number)] for number in range(7)]
    assert [("stack:airflow" in names) for names in pools] == [True] * FAR_BLOCKS + [False] * 4
    assert all("stack:default" in names for names in pools)
    assert planned.runs == 7 + FAR_BLOCKS
    chosen = plan(RunOptions(stacks="airflow", shapes="diamond", kernel="noop", blocks=5), 2)
    assert chosen.runs == 10
