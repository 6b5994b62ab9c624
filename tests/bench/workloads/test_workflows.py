"""WfFormat: small recordings of our own, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import BenchError
from bench.cli import main
from bench.results.store import read_results
from bench.workloads.workflows import Workflow, read_workflow, read_workflows

# split (2 s) -> left, right (3 s, 4 s) -> join, of which no time is known
NEEDS: dict[str, list[str]] = {
    "split": [],
    "left": ["split"],
    "right": ["split"],
    "join": ["left", "right"],
}
TIMES_S = {"split": 2.0, "left": 3.0, "right": 4.0}


def version_1_5() -> dict[str, Any]:
    return {
        "name": "diamond",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {
                "tasks": [
                    {"name": "same", "id": task, "parents": needs, "children": []}
                    for task, needs in NEEDS.items()
                ]
            },
            "execution": {
                "tasks": [
                    {"id": task, "runtimeInSeconds": time_s} for task, time_s in TIMES_S.items()
                ]
            },
        },
    }


def version_1_4() -> dict[str, Any]:
    tasks: list[dict[str, Any]] = [
        {"name": task, "type": "compute", "parents": needs} for task, needs in NEEDS.items()
    ]
    for task in tasks:
        if task["name"] in TIMES_S:
            task["runtimeInSeconds"] = TIMES_S[task["name"]]
    return {"name": "diamond", "schemaVersion": "1.4", "workflow": {"tasks": tasks}}


def written(folder: Path, content: object, name: str = "diamond.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("version", [version_1_4, version_1_5])
def test_tasks_needs_and_times_are_read(tmp_path: Path, version: Any) -> None:
    workflow = read_workflow(written(tmp_path, version()))
    assert workflow.name == "diamond"
    assert workflow.needs == {task: tuple(needs) for task, needs in NEEDS.items()}
    assert workflow.recorded_s == {**TIMES_S, "join": 3.0}  # the median of the known ones
    assert workflow.missing == 1


def test_recorded_times_are_scaled() -> None:
    workflow = read_workflows([Path(__file__).parent / "recordings"])[0]
    assert sum((workflow.sized(None).lengths_s or {}).values()) == pytest.approx(1.0)
    scaled = workflow.sized(0.5).lengths_s or {}
    assert scaled == {task: 0.5 * time_s for task, time_s in workflow.recorded_s.items()}


def test_times_beyond_all_reason_are_refused_or_nothing() -> None:
    long = Workflow("long", {"a": (), "b": ()}, {"a": 1e9, "b": 1.0}, 0)
    assert sum((long.sized(None).lengths_s or {}).values()) == pytest.approx(1.0)
    with pytest.raises(BenchError, match=r"'a' would take 1e\+09 s; give a --scale that"):
        long.sized(1.0)
    short = Workflow("short", {"a": ()}, {"a": 5e-324}, 0)
    assert short.sized(None).lengths_s == {"a": 0.0}


def test_a_workflow_may_be_named_twice_but_not_as_a_shape(tmp_path: Path) -> None:
    path = written(tmp_path, version_1_5())
    (tmp_path / "folder").mkdir()
    again = tmp_path / "folder" / ".." / path.name
    assert len(read_workflows([path, again])) == 1
    result = bench("run", "--dry-run", "--workflow", path, "--shapes", "diamond")
    assert result.exit_code == 2
    assert "a shape and a workflow are both called diamond" in result.output


def test_repeated_names_are_told_apart(tmp_path: Path) -> None:
    """Version 1.4 refers to names: a name of several tasks means all of them."""
    content = version_1_4()
    content["workflow"]["tasks"] = [
        {"name": "map", "runtimeInSeconds": 1.0},
        {"name": "map", "runtimeInSeconds": 2.0},
        {"name": "reduce", "parents": ["map"], "runtimeInSeconds": 0},
    ]
    workflow = read_workflow(written(tmp_path, content))
    assert workflow.needs == {"map": (), "map#2": (), "reduce": ("map", "map#2")}
    assert workflow.recorded_s == {"map": 1.0, "map#2": 2.0, "reduce": 0.0}
    for task, number in zip(content["workflow"]["tasks"], "123", strict=True):
        task["id"] = number
    content["workflow"]["tasks"][2]["parents"] = ["2"]
    assert read_workflow(written(tmp_path, content)).needs["reduce"] == ("map#2",)


def test_a_parent_is_an_id_before_it_is_a_name(tmp_path: Path) -> None:
    content = version_1_4()
    content["workflow"]["tasks"] = [
        {"name": "x", "id": "1"},
        {"name": "1", "id": "2"},
        {"name": "y", "id": "3", "parents": ["1"]},
    ]
    assert read_workflow(written(tmp_path, content)).needs["y"] == ("x",)


def test_thousands_of_tasks_are_no_problem(tmp_path: Path) -> None:
    content = version_1_4()
    content["workflow"]["tasks"] = [
        {"name": "same", "id": f"t{at}", "parents": [f"t{at - 1}"] if at % 100 else []}
        for at in range(20_000)
    ]
    workflow = read_workflow(written(tmp_path, content))
    assert len(workflow.needs) == 20_000
    assert set(workflow.recorded_s.values()) == {0.0}  # nothing is known of any


def changed(*path: str | int, to: object, version: Any = version_1_5) -> dict[str, Any]:
    content: dict[str, Any] = version()
    inner: Any = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return content


SPECIFIED = ("workflow", "specification", "tasks")
EXECUTED = ("workflow", "execution", "tasks")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "the file is not an object"),
        (changed("schemaVersion", to="1.3"), "schemaVersion is '1.3'; known versions: 1.4 and 1.5"),
        (changed(*SPECIFIED, to=[]), "workflow.specification.tasks is empty: there are no tasks"),
        (changed(*SPECIFIED, to={}), "workflow.specification has no 'tasks' that is a list"),
        (changed("workflow", to=3), "the file has no 'workflow' that is an object"),
        (changed(*SPECIFIED, 1, to=3), r"tasks\[1\] is not an object"),
        (changed(*SPECIFIED, 1, "id", to=7), "task 1 has no 'id'"),
        (changed(*SPECIFIED, 1, "id", to="split"), "two tasks have the id 'split'"),
        (changed(*SPECIFIED, 3, "parents", to=["x"]), r"\(join\): its parent 'x' is not a task"),
        (changed(*SPECIFIED, 3, "parents", to="x"), r"\(join\): parents is not a list"),
        (changed(*SPECIFIED, 0, "parents", to=["join"]), "the graph has a cycle"),
        (changed(*SPECIFIED, 0, "parents", to=["split"]), "the graph has a cycle"),
        (
            changed(*EXECUTED, 0, "runtimeInSeconds", to=-1),
            r"tasks\[0\]: runtimeInSeconds must be .*, not -1",
        ),
        (changed(*EXECUTED, 0, "runtimeInSeconds", to="3"), "must be from 0 .*, not 3"),
        (changed(*EXECUTED, 0, "runtimeInSeconds", to=10**400), "must be from 0 .*, not 1000"),
        (changed(*EXECUTED, 0, "runtimeInSeconds", to=float("nan")), "must be from 0 .*, not nan"),
        (changed(*EXECUTED, 0, "id", to=None), r"execution.tasks\[0\] has no 'id'"),
        (
            changed("workflow", "tasks", 0, "name", to="", version=version_1_4),
            "task 0 has no 'name'",
        ),
        (
            changed("workflow", "tasks", 0, "runtimeInSeconds", to=True, version=version_1_4),
            r"workflow.tasks\[0\]: runtimeInSeconds must be .*, not True",
        ),
    ],
)
def test_a_malformed_file_is_refused_with_the_place(
    tmp_path: Path, content: object, says: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(BenchError, match=says) as raised:
        read_workflow(path)
    assert str(raised.value).startswith(str(path))


def test_what_is_not_there_or_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such file"):
        read_workflow(tmp_path / "none.json")
    with pytest.raises(BenchError, match=r"has no \.json files"):
        read_workflows([tmp_path])
    (tmp_path / "binary.json").write_bytes(b"\xff\x00")
    with pytest.raises(BenchError, match="is not JSON"):
        read_workflow(tmp_path / "binary.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(BenchError, match="is not JSON"):
        read_workflow(tmp_path / "deep.json")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, version_1_5())
    with pytest.raises(BenchError, match="two workflows are called diamond"):
        read_workflows([tmp_path / "a", tmp_path / "b"])


def bench(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_workflow_is_measured_on_every_backend(tmp_path: Path) -> None:
    path = written(tmp_path, version_1_5())
    options = ["--scale", "0.001", "--kernel", "sleep", "--max-workers", "2", "--blocks", "1"]
    result = bench("run", "--workflow", path, *options, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    results = read_results(tmp_path / "out")
    assert {run.case.shape for run in results.measurements} == {"diamond"}
    assert {run.case.kernel for run in results.measurements} == {"sleep"}
    assert all(run.work_s >= 0.012 for run in results.measurements)
    assert all(run.span_s >= 0.009 for run in results.measurements)
    assert "diamond, sleep: speedup at most 1.33" in result.output  # 12 s over 9 s
    assert "With the recorded times" in (tmp_path / "out" / "report.md").read_text()


def test_a_workflow_of_noop_tasks_shows_the_overhead_of_its_graph(tmp_path: Path) -> None:
    path = written(tmp_path, version_1_5())
    options = ["--shapes", "chain", "--kernel", "noop,sleep:1ms", "--max-workers", "2"]
    result = bench("run", "--workflow", path, *options, "--blocks", "1", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    runs = read_results(tmp_path / "out").measurements
    pairs = [(run.case.shape, run.case.kernel) for run in runs if run.case.is_baseline]
    assert sorted(pairs) == [
        ("chain", "noop"),
        ("chain", "sleep:1ms"),
        ("diamond", "noop"),
        ("diamond", "sleep"),
    ]
    report = (tmp_path / "out" / "report.md").read_text()
    assert not re.search(r"noop: [;.]", report)  # runs that are too short for cores busy


@pytest.mark.parametrize("kernel", ["noop", "noop,sleep"])
def test_a_workflow_of_noop_tasks_can_be_planned_and_recommended(
    tmp_path: Path, kernel: str
) -> None:
    path = written(tmp_path, version_1_5())
    options: list[str | Path] = ["--workflow", path, "--kernel", kernel, "--max-workers", "2"]
    assert bench("run", "--dry-run", *options).exit_code == 0
    result = bench("recommend", "--no-verify", *options)
    assert result.exit_code in (0, 4), result.output
    assert "diamond, noop" in result.output


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, version_1_5())
    plain = read_workflows([path])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_workflows([path]) == plain


def test_shapes_and_workflows_go_together(tmp_path: Path) -> None:
    path = written(tmp_path, version_1_5())
    result = bench("run", "--dry-run", "--workflow", path, "--shapes", "chain", "--kernel", "sleep")
    assert "diamond, sleep\n" in result.output
    assert "chain, sleep:20ms\n" in result.output
    assert "fan-in" not in result.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--scale", "2"], "name one with --workflow"),
        (["--scale", "0", "--workflow", "x.json"], "--scale must be above 0"),
        (["--scale", "nan", "--workflow", "x.json"], "--scale must be above 0"),
        (["--workflow", ""], "--workflow is empty"),
    ],
)
def test_a_scale_needs_a_workflow_and_a_size(options: list[str], says: str) -> None:
    result = bench("run", "--dry-run", *options)
    assert result.exit_code == 2
    assert says in result.output


def test_simulated_cases_are_marked_and_never_picked(tmp_path: Path) -> None:
    path = written(tmp_path, version_1_5())
    options = ["--scale", "0.001", "--kernel", "sleep", "--blocks", "1"]
    options += ["--backends", "simulated", "--max-workers", "1,2,10000"]
    result = bench("run", "--workflow", path, *options, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    results = read_results(tmp_path / "out")
    walls = {run.case.workers: run.wall_s for run in results.measurements[1:]}
    alone = results.measurements[0]
    assert walls[1] == pytest.approx(alone.work_s)
    assert walls[2] == walls[10_000] == pytest.approx(alone.work_s * 9 / 12)
    assert "~ simulated    10000" in result.output
    assert "Only sequential runs were measured, so there is nothing to compare" in result.output
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| *simulated, not measured* | 10000 |" in page
    assert "Simulated rows were not measured" in page
    figure = (tmp_path / "out" / "speedup-diamond-sleep.svg").read_text()
    assert "simulated, not measured" in figure
    assert ">pick<" not in figure  # there was nothing to pick from
