"""`bench recommend` as a user meets it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import BenchError
from bench.cli import main
from bench.recommend import recommend
from bench.recommend.advisor import Advisor
from bench.recommend.recommendation import Recommendation
from bench.workloads.kernels import Work
from executors import Graph, Task
from tests.available import POOLS
from tests.bench.results.written import TYPICAL, write

pytestmark = pytest.mark.usefixtures("quick")


def nap(*_: object) -> None:
    Work("sleep", 0.004)()


def naps() -> Graph:
    return Graph(Task(f"nap{index}", nap) for index in range(12))


def test_a_graph_of_ones_own() -> None:
    both = ["processes", "threads"]
    advice = recommend(naps(), backends=both, max_workers=[2, 8], name="naps")
    assert advice.work_s >= 12 * 0.004
    assert {(one.backend, one.workers) for one in advice.candidates} == {
        ("sequential", 1),
        ("processes", 2),
        ("processes", 8),
        ("threads", 2),
        ("threads", 8),
    }
    if advice.pick is not None:  # else something else ran, and it says so
        assert advice.pick.workers == 8
        assert len(advice.pick.wall_s) >= 5
        assert advice.speedup is not None
        assert advice.speedup > 2


def test_a_graph_without_tasks_is_refused() -> None:
    with pytest.raises(BenchError, match="without tasks"):
        recommend(Graph([]))


def command(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["recommend", *map(str, arguments)])


def test_the_command_prints_and_draws(tmp_path: Path) -> None:
    options = ["--shapes", "fan-in:width=4", "--kernel", "sleep:2ms", "--max-workers", "2,4"]
    result = command(*options, "-o", tmp_path / "out")
    assert result.exit_code in (0, 4), result.output
    assert "fan-in:width=4, sleep:2ms: " in result.output
    lines = [line for line in result.output.splitlines() if not line.startswith("Figure")]
    assert max(map(len, lines)) <= 100
    (content,) = json.loads((tmp_path / "out" / "recommend.json").read_text())
    assert content["name"] == "fan-in:width=4, sleep:2ms"
    assert len(content["candidates"]) == 1 + 2 * len(POOLS)
    assert "threads, predicted" in (tmp_path / "out" / "recommend.svg").read_text()


def test_only_the_numbers_that_are_asked_for(tmp_path: Path) -> None:
    options = ["--shapes", "chain:length=2", "--kernel", "noop", "--backends", "threads"]
    result = command(*options, "--max-workers", "1", "--json")
    (content,) = json.loads(result.output)
    assert [(one["backend"], one["workers"]) for one in content["candidates"]] == [
        ("sequential", 1),
        ("threads", 1),
    ]
    assert result.exit_code == 0  # a chain is sequential, whatever else runs


def test_json_and_predictions_only() -> None:
    result = command("--shapes", "chain:length=3", "--kernel", "sleep:1ms", "--no-verify", "--json")
    (content,) = json.loads(result.output)
    assert not any(one["wall_s"] for one in content["candidates"])
    assert result.exit_code == 0  # a chain is sequential, whatever else runs
    assert content["pick"]["backend"] == "sequential"


def test_what_is_finished_is_written_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Advisor.recommend

    def once(advisor: Advisor, subject: Recommendation, *others: Any) -> Recommendation:
        if subject.graph == "chain:length=3":
            raise KeyboardInterrupt
        return whole(advisor, subject, *others)

    monkeypatch.setattr(Advisor, "recommend", once)
    shapes = ["--shapes", "chain:length=2,chain:length=3", "--kernel", "noop"]
    result = command(*shapes, "--backends", "threads", "-o", tmp_path)
    assert result.exit_code == 130
    (content,) = json.loads((tmp_path / "recommend.json").read_text())
    assert content["name"] == "chain:length=2, noop"


def test_json_is_all_that_standard_output_has(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import os\nfrom executors import Graph, Task\n"
        "def shout(*_):\n    print('printed', flush=True)\n    os.system('echo from a child')\n"
        "def make():\n    return Graph([Task('a', shout), Task('b', shout, ('a',))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench", "recommend", "--graph", "loud:make", "--json", "-q"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (content,) = json.loads(done.stdout)
    assert content["pick"]["backend"] == "sequential"
    assert "printed" in done.stderr
    assert "from a child" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor as a shell does")
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_json_with_closed_streams(closed: str) -> None:
    options = "recommend --shapes chain:length=2 --kernel noop --backends threads --json -q"
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m bench {options} {closed}",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if closed == "2>&-":
        assert json.loads(done.stdout)[0]["pick"]["backend"] == "sequential"


def test_a_graph_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "my_naps.py").write_text(
        "import time\nfrom executors import Graph, Task\n"
        "def nap(*_):\n    time.sleep(0.002)\n"
        "def make():\n    return Graph(Task(f'n{i}', nap) for i in range(4))\n"
        "def wrong():\n    return 3\ndef fails():\n    return {}['a']\n"
        "def empty():\n    return Graph([])\ndef exits():\n    raise SystemExit(0)\n"
    )
    (tmp_path / "my_error.py").write_text("1 / 0\n")
    result = command("--graph", "my_naps:make", "--backends", "threads", "--max-workers", "4")
    assert result.exit_code in (0, 4), result.output
    assert "my_naps:make: " in result.output
    for spec, says in (
        ("my_naps", "--graph must be module:function"),
        ("my_naps:none", "my_naps has no function none"),
        ("not_there:make", "cannot import not_there (ModuleNotFoundError: "),
        ("my_error:make", "cannot import my_error (ZeroDivisionError: division by zero)"),
        ("my_naps:fails", "fails() failed (KeyError: 'a')"),
        ("my_naps:exits", "exits() failed (SystemExit: 0)"),
        ("my_naps:empty", "empty() returned a graph without tasks"),
        ("my_naps:wrong", "wrong() must return a Graph, not int"),
    ):
        result = command("--graph", spec)
        assert result.exit_code == 2
        assert says in " ".join(result.output.split())


def test_what_was_measured_before_is_enough(tmp_path: Path) -> None:
    result = command("--results", write(tmp_path, TYPICAL, noise=0.001))
    assert result.exit_code == 0
    assert "fan-in, sleep:20ms: threads with 8 workers" in result.output
    assert "chain, sleep:20ms: sequential" in result.output
    assert "Threads with 8 workers: 4.39 times as fast as sequential" in result.output


def test_results_without_runs_are_no_answer(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, end=None)
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    result = command("--results", path)
    assert result.exit_code == 2
    assert "has no finished runs; continue it with" in " ".join(result.output.split())


def test_one_question_at_a_time(tmp_path: Path) -> None:
    result = command("--graph", "a:b", "--results", tmp_path)
    assert result.exit_code == 2
    assert "--graph and --results cannot be combined" in result.output
    for options, says in (
        (["--graph", "a:b", "--shapes", "chain"], "no effect with --graph: --shapes"),
        (
            ["--pipeline", "x", "--backends", "threads"],
            "no effect with --pipeline: --backends",
        ),
        (["--results", "x", "--max-workers", "2"], "no effect with --results: --max-workers"),
        (["--steps", "python"], "no effect with --shapes: --steps"),
        (["--backends", "simulated"], "never recommended"),
        (["--backends", "sequential"], "no backend to choose from"),
    ):
        result = command(*options)
        assert result.exit_code == 2
        assert says in " ".join(result.output.split())
