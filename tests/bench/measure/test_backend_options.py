"""`--backend-option NAME.KEY=VALUE`: read, checked, recorded, and used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import BenchError
from bench.cli import main
from bench.measure.backend_options import option_names, parsed
from bench.measure.hosts.here import PoolHere
from bench.measure.options import RunOptions
from bench.measure.plan import plan
from bench.results.case import PoolKey
from bench.results.store import read_results

NAMES = ["sequential", "threads", "processes", "futures"]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("threads.grace_s=2", "grace_s", 2.0),
        ("threads.grace_s=250ms", "grace_s", 0.25),
        ("processes.memory_limit_bytes=2000000000", "memory_limit_bytes", 2_000_000_000),
        ("processes.preload=numpy,json", "preload", ("numpy", "json")),
        ("futures.executor=a.b:c=d", "executor", "a.b:c=d"),
    ],
)
def test_values_have_the_types_that_the_class_takes(text: str, name: str, value: Any) -> None:
    (options,) = parsed([text], NAMES).values()
    assert options == {name: value}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["threads"], "must be NAME.KEY=VALUE"),
        (["threads.grace_s"], "must be NAME.KEY=VALUE"),
        (["=1"], "must be NAME.KEY=VALUE"),
        (["treads.grace_s=1"], "did you mean 'threads'"),
        (["threads.grace=1"], "did you mean 'grace_s'"),
        (["threads.grace_s=soon"], "must be a number"),
        (["processes.memory_limit_bytes=much"], "must be a whole number"),
        (["processes.initializer=f"], "has no option 'initializer'"),
        (["threads.grace_s=1", "threads.grace_s=2"], "given twice"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(texts: list[str], says: str) -> None:
    with pytest.raises(BenchError, match=says) as raised:
        parsed(texts, NAMES)
    assert "\n" not in str(raised.value)


def test_what_only_code_can_give_is_no_option() -> None:
    assert option_names("processes") == ["memory_limit_bytes", "preload"]
    assert option_names("sequential") == []


def test_the_plan_loads_backends_with_their_options() -> None:
    options = RunOptions(backends="threads", backend_option=("threads.grace_s=7",))
    with plan(options, 2).pool(PoolKey("threads", 2)) as pool:
        assert isinstance(pool, PoolHere)
        assert vars(pool.backend)["_team"].grace_s == 7


def test_options_are_in_the_results_in_the_command_and_asked_for_by_resume(tmp_path: Path) -> None:
    def bench(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["run", *arguments, "-q"])

    small = ["--shapes", "diamond", "--kernel", "noop", "--backends", "threads"]
    small += ["--max-workers", "2", "--blocks", "1"]
    option = ["--backend-option", "threads.grace_s=3"]
    folder = str(tmp_path / "out")
    assert bench(*small, *option, "-o", folder).exit_code in (0, 4)
    config = read_results(folder).header["config"]
    assert config["options"]["backend_option"] == ["threads.grace_s=3"]
    assert "--backend-option threads.grace_s=3" in config["command"]
    other = bench("--resume", folder, "--backend-option", "threads.grace_s=4")
    assert other.exit_code != 0
    assert "--backend-option" in other.output
    assert bench("--resume", folder, "--blocks", "2").exit_code in (0, 4)


def test_the_environment_and_the_project_may_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--backends", "threads", "--dry-run", "--format", "json"]
    monkeypatch.setenv("BENCH_BACKEND_OPTION", "threads.grace=1")
    assert "did you mean 'grace_s'" in CliRunner().invoke(main, arguments).output
    monkeypatch.delenv("BENCH_BACKEND_OPTION")
    Path("pyproject.toml").write_text('[tool.bench]\nbackend-option = ["threads.grace=1"]\n')
    assert "did you mean 'grace_s'" in CliRunner().invoke(main, arguments).output


def test_versions_of_what_a_backend_runs_on_are_in_the_header(tmp_path: Path) -> None:
    pytest.importorskip("loky")
    arguments = ["run", "--shapes", "diamond", "--kernel", "noop", "--backends", "loky"]
    arguments += ["--max-workers", "2", "--blocks", "1", "-q", "-o", str(tmp_path)]
    assert CliRunner().invoke(main, arguments).exit_code in (0, 4)
    results = read_results(tmp_path)
    assert "loky" in results.header["versions"]
    assert results.header["config"]["backends"] == ["sequential", "loky"]
