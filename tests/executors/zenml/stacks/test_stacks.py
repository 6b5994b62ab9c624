"""ZenML stacks as backends, whether they can run here, and the commands that measure them."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import ComponentRequest, StackRequest

from bench.cli import main
from bench.measure.harness import of_steps
from bench.results.store import read_results
from bench.workloads.kernels import Work
from executors import CONTINUE_ON_FAILURE, BackendError, Graph, Status, Task, load_backend, run
from executors.zenml.install import install
from executors.zenml.stacks import usable
from executors.zenml.stacks.backend import _lanes

SLEEP_S = 0.3
DIAMOND = Graph(
    [
        Task("first", Work("noop", 0)),
        Task("left", Work("sleep", SLEEP_S), needs=("first",)),
        Task("right", Work("sleep", SLEEP_S), needs=("first",)),
        Task("last", Work("noop", 0), needs=("left", "right")),
    ]
)


@pytest.fixture(scope="module", autouse=True)
def _stacks() -> Iterator[None]:
    """Stacks `threaded`, `process` and `elsewhere`; another one is active all the time."""
    client = Client()
    install("threaded", 4)
    install("process", 2, flavor="local_process")
    client.create_flavor(
        "tests.executors.zenml.stacks.asynchronous.AsynchronousFlavor",
        StackComponentType.ORCHESTRATOR,
    )
    client.create_stack_component(
        "elsewhere", "tested_asynchronous", StackComponentType.ORCHESTRATOR, configuration={}
    )
    client.create_stack(
        "elsewhere",
        {
            StackComponentType.ORCHESTRATOR: "elsewhere",
            StackComponentType.ARTIFACT_STORE: "default",
        },
    )
    before = dict(os.environ)
    client.activate_stack("default")
    yield
    assert client.active_stack_model.name == "default"
    before.pop("PYTEST_CURRENT_TEST", None)
    assert {name: os.environ.get(name) for name in before} == before


@pytest.mark.parametrize("stack", ["default", "threaded", "process", "elsewhere"])
def test_a_graph_runs_as_a_pipeline_with_the_times_of_its_steps(stack: str) -> None:
    with load_backend(f"stack:{stack}", 2) as backend:
        began_s = time.monotonic()
        report = run(DIAMOND, backend)
        ended_s = time.monotonic()
    assert report.succeeded
    spans = {
        name: (record.attempts[0].started_s, record.attempts[0].ended_s)
        for name, record in report.tasks.items()
    }
    assert all(began_s <= start_s <= end_s <= ended_s for start_s, end_s in spans.values())
    for task in DIAMOND.tasks:
        assert all(spans[need][1] <= spans[task.name][0] for need in task.needs)
    for name in ("left", "right"):
        assert spans[name][1] - spans[name][0] >= SLEEP_S
    is_parallel = stack in ("threaded", "process")
    overlap_s = min(spans["left"][1], spans["right"][1]) - max(spans["left"][0], spans["right"][0])
    assert (overlap_s > 0) == is_parallel
    steps = of_steps(DIAMOND, report, began_s)
    assert steps["most_at_once"] == 1 + is_parallel
    assert 2 * SLEEP_S / (1 + is_parallel) < steps["makespan_s"] < ended_s - began_s
    assert 0 < steps["before_s"] < ended_s - began_s


@pytest.mark.parametrize("stack", ["default", "threaded"])
def test_a_step_that_fails_is_a_failed_task(stack: str) -> None:
    graph = Graph(
        [Task("bad", Work("no such kernel", 0)), Task("after", Work("noop", 0), needs=("bad",))]
    )
    with load_backend(f"stack:{stack}", 2) as backend:
        report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    assert {name: record.status for name, record in report.tasks.items()} == {
        "bad": Status.FAILED,
        "after": Status.UPSTREAM_FAILED,
    }
    assert "no such kernel" in str(report.failures[0].error)


def test_an_action_that_cannot_be_sent_fails() -> None:
    graph = Graph([Task("local", lambda: None)])
    with load_backend("stack:default", 1) as backend:
        report = run(graph, backend)
    assert "cannot be sent" in str(report.tasks["local"].error)


def test_what_a_stack_cannot_do_is_refused() -> None:
    with pytest.raises(BackendError, match="does not support retries"):
        run(Graph([Task("a", Work("noop", 0), retries=1)]), load_backend("stack:default", 1))


def test_steps_that_run_at_once_have_different_lanes() -> None:
    spans = {0: (0.0, 2.0, None), 1: (1.0, 3.0, None), 2: (2.0, 4.0, None), 3: (3.5, 5.0, None)}
    assert _lanes(spans) == {0: 0, 1: 1, 2: 0, 3: 1}


# -- whether a stack can run here ---------------------------------------------------------------


def add_stack(name: str, flavor: str, **configuration: Any) -> None:
    client = Client()
    client.create_stack_component(
        name, flavor, StackComponentType.ORCHESTRATOR, configuration=configuration
    )
    components: dict[StackComponentType, Any] = {
        StackComponentType.ORCHESTRATOR: name,
        StackComponentType.ARTIFACT_STORE: "default",
    }
    client.create_stack(name, components)


def test_an_unknown_stack_is_named_with_those_that_exist() -> None:
    reason = usable.why_unusable("treaded")
    assert reason is not None
    assert "no stack of this name is registered" in reason
    assert "did you mean 'threaded'?" in reason


def test_containers_need_a_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    if "docker" not in usable.stack_names():
        add_stack("docker", "local_docker")
    reason = usable.why_unusable("docker")
    assert reason is not None
    assert "docker" in reason.lower()
    assert "DOCKER_HOST" in reason or "pip install docker" in reason


def test_a_remote_orchestrator_cannot_use_a_folder_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.executors.zenml.stacks import asynchronous

    monkeypatch.setattr(asynchronous.AsynchronousConfig, "is_remote", True, raising=False)
    reason = usable.why_unusable("elsewhere")
    assert reason is not None
    assert "runs elsewhere, but its artifact store (default) is a folder of this machine" in reason


# What a component of a flavor has to have, at least.
REQUIRED: dict[str, dict[str, Any]] = {
    "vertex": {"location": "nowhere"},
    "ssh": {"hostname": "nowhere", "username": "nobody"},
    "databricks": {"host": "https://nowhere"},
    "sagemaker": {"execution_role": "nobody"},
    "azureml": dict.fromkeys(("subscription_id", "resource_group", "workspace"), "none"),
}
OURS_AND_LOCAL = ("local", "local_threaded", "local_process", "tested_asynchronous")
NEEDS_NOTHING_HERE = ("airflow",)  # it writes a file that Airflow reads


def test_every_orchestrator_of_zenml_that_cannot_run_here_says_what_to_do() -> None:
    """Registered on a server by somebody who has the integrations, and used here without them."""
    client = Client()
    artifact_store = client.list_stack_components(
        name="equals:default", type=StackComponentType.ARTIFACT_STORE
    ).items[0]
    reasons = {}
    flavors = client.list_flavors(type=StackComponentType.ORCHESTRATOR, size=100).items
    for flavor in flavors:
        if flavor.name in (*OURS_AND_LOCAL, *NEEDS_NOTHING_HERE):
            continue
        try:
            component = client.zen_store.create_stack_component(
                ComponentRequest(
                    name=f"far {flavor.name}",
                    type=StackComponentType.ORCHESTRATOR,
                    flavor=flavor.name,
                    configuration=REQUIRED.get(flavor.name, {}),
                )
            )
        except ModuleNotFoundError:  # ZenML does not even register it
            continue
        client.zen_store.create_stack(
            StackRequest(
                name=f"far {flavor.name}",
                components={
                    StackComponentType.ORCHESTRATOR: [component.id],
                    StackComponentType.ARTIFACT_STORE: [artifact_store.id],
                },
            )
        )
        reasons[flavor.name] = usable.why_unusable(f"far {flavor.name}")
    assert len(reasons) >= 15
    for name, reason in reasons.items():
        assert reason is not None, name
        assert "\n" not in reason
        is_missing = re.search(r"run: zenml integration install [\w ]+$", reason)
        others = ("DOCKER_HOST", "pip install docker", "runs elsewhere")
        assert is_missing or any(other in reason for other in others), (name, reason)


# -- commands -----------------------------------------------------------------------------------


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_stacks_are_listed_without_running_anything() -> None:
    listed = {
        one["name"]: one
        for one in json.loads(bench("list", "--stacks", "--format", "json").output)["stacks"]
    }
    assert listed["default"] == {
        "name": "default",
        "flavor": "local",
        "max_workers": None,
        "unusable": None,
    }
    assert listed["process"]["max_workers"] == 2
    assert "threaded" in bench("list", "--stacks").output


def test_stacks_are_measured_and_those_that_cannot_be_are_named(tmp_path: Path) -> None:
    done = bench(
        *("run", "--stacks", "threaded,nope", "--max-workers", "1,2", "--shapes", "fan-in:width=2"),
        *("--kernel", "sleep:50ms", "--blocks", "1", "-o", str(tmp_path / "out")),
    )
    assert done.exit_code == 0, done.output
    assert "stack nope is left out: no stack of this name is registered" in done.output
    results = read_results(tmp_path / "out")
    cases = {(run.backend, run.workers) for run in results.measurements}
    assert cases == {("stack:default", 1), ("stack:threaded", 1), ("stack:threaded", 2)}
    for one in results.measurements:
        assert one.most_at_once is not None
        assert one.most_at_once <= one.workers
        assert one.makespan_s <= one.wall_s
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| stack | workers | makespan | a step beyond its kernel |" in page
    assert "The speedup is the median wall time of the stack default divided by" in page
    assert "sequential is picked" not in page
    assert "What a step costs" in (tmp_path / "out" / "report.html").read_text()


PIPELINE = """
import time
from zenml import pipeline, step

@step(enable_cache=True)
def load(rows: int) -> int:
    time.sleep(0.2)
    with open("begun", "a") as file:
        file.write(f"{rows}\\n")
    return rows

@step
def total(one: int, two: int) -> int:
    return one + two

@pipeline
def loading(rows: int = 1) -> None:
    total(load(rows, id="a"), load(rows, id="b"))

@pipeline(dynamic=True)
def growing() -> None:
    load(1)

loading()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "loading_program.py").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    sys.modules.pop("loading_program", None)


def test_a_pipeline_of_the_users_own_is_measured_without_caching(program: Path) -> None:
    done = bench(
        *("run", "--pipeline", "loading_program:loading", "--pipeline-args", '{"rows": 7}'),
        *("--stacks", "threaded", "--max-workers", "2", "--blocks", "1", "-o", "out"),
    )
    assert done.exit_code == 0, done.output
    results = read_results(program / "out")
    assert [(run.shape, run.kernel) for run in results.measurements] == [
        ("loading_program:loading", "own tasks")
    ] * 2
    by_backend = {run.backend: run for run in results.measurements}
    assert by_backend["stack:default"].most_at_once == 1
    assert by_backend["stack:threaded"].most_at_once == 2
    begun = (program / "begun").read_text().split()
    assert set(begun) == {"7"}  # importing the module ran nothing
    assert len(begun) == 2 * (2 + 2 + 2)  # trials twice on each stack, and a block
    assert re.search(r"threaded +2 +[\d.]+ m?s +[\d.]+ m?s +[+-]\d+ %", done.output), done.output


@pytest.mark.parametrize(
    ("spec", "arguments", "says"),
    [
        ("loading_program:nothing", "{}", "nothing is missing; pipelines of the module: "),
        ("loading_program:load", "{}", "load is no pipeline"),
        ("loading_program:growing", "{}", "it is dynamic, so its steps are not known"),
        ("loading_program:loading", '{"row": 1}', "cannot be prepared with these arguments"),
        ("loading_program:loading", "[1]", "--pipeline-args must be a JSON object"),
        ("loading_program:loading", "{", "--pipeline-args must be a JSON object"),
        ("no_such_module:loading", "{}", "cannot import no_such_module"),
        ("loading", "{}", "--pipeline must be module:pipeline"),
    ],
)
def test_a_pipeline_that_cannot_be_measured_is_refused(
    program: Path, spec: str, arguments: str, says: str
) -> None:
    done = bench("run", "--pipeline", spec, "--pipeline-args", arguments, "--stacks", "threaded")
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert not (program / "bench-results").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stacks", "nope"], "no stack can be measured here; nope: no stack of this name"),
        (["--stacks", "threaded", "--backends", "threads"], "two comparisons"),
        (["--stacks", "threaded", "--payload", "1kB"], "no effect with --stacks: --payload"),
        (["--stacks", ""], "--stacks is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], says: str) -> None:
    done = bench("run", *arguments, "--dry-run")
    assert done.exit_code == 2
    assert says in done.output


def test_a_plan_of_stacks_says_how_long_it_takes() -> None:
    done = bench("run", "--stacks", "threaded,process", "--kernel", "sleep:1s", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "process" in done.output
    assert "Nothing was measured." in done.output
