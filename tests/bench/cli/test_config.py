"""Options: flag over environment over [tool.bench]."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.measure.options import RunOptions

DRY = ["run", "--dry-run", "--kernel", "noop"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def configured(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.bench]\n{text}\n")


def planned(*arguments: str) -> str:
    return CliRunner().invoke(main, [*DRY, *arguments]).output


def test_flag_over_environment_over_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fan-in, noop" in planned()
    configured(folder, 'shapes = ["chain", "stencil"]\nmax-workers = "1,2"\nblocks = 9')
    assert "chain, noop" in planned()
    assert "stencil, noop" in planned()
    assert "9 blocks" in planned()
    monkeypatch.setenv("BENCH_SHAPES", "diamond")
    monkeypatch.setenv("BENCH_BLOCKS", "3")
    assert "diamond, noop" in planned()
    assert "chain" not in planned()
    assert "3 blocks" in planned()
    assert "2 blocks" in planned("--blocks", "2")
    assert "wavefront, noop" in planned("--shapes", "wavefront")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("width = 3", "'width' in [tool.bench] is not an option of bench run"),
        ("blocks = 2.5", "'2.5' is not a valid integer range (from [tool.bench]"),
        ("blocks = many", "is not TOML"),
        ("blocks = 'many'", "'many' is not a valid integer"),
        ("[tool.bench.shapes]\nx = 1", "[tool.bench.shapes] does not belong to a command"),
    ],
)
def test_a_broken_file_is_one_clear_message(folder: Path, text: str, says: str) -> None:
    configured(folder, text)
    result = CliRunner().invoke(main, DRY)
    assert result.exit_code == 2
    assert says in result.output


def test_help_never_reads_the_file(folder: Path) -> None:
    for text in ("blocks = many", "[tool.bench.recommend]\nwrong = 1", "blocks = 2.5"):
        configured(folder, text)
        for command in ("run", "recommend", "metg", "doctor"):
            result = CliRunner().invoke(main, [command, "--help"])
            assert (result.exit_code, "Usage" in result.output) == (0, True)


def test_a_bad_table_fails_its_own_command_only(folder: Path) -> None:
    configured(folder, 'kernel = "noop"\n[tool.bench.recommend]\nbloks = 1\n[tool.bench.mteg]')
    assert "fan-in, noop" in planned()
    assert "[tool.bench.mteg] does not belong to a command; did you mean 'metg'?" in planned()
    assert CliRunner().invoke(main, ["list"]).exit_code == 0
    result = CliRunner().invoke(main, ["recommend"])
    assert result.exit_code == 2
    assert "'bloks' in [tool.bench.recommend] is not an option of bench recommend" in result.output


@pytest.mark.parametrize(
    ("text", "command", "says"),
    [
        ("bloks = 3", "run", "did you mean 'blocks'?"),
        ("max_worker = 3", "run", "did you mean 'max-workers'?"),
        ("[tool.bench.metgg]\nblocks = 1", "metg", "did you mean 'metg'?"),
        ("backends = 'thread'", "run", "did you mean 'threads'?"),
        ("shapes = 'fanin'", "run", "did you mean 'fan-in'?"),
        ("shapes = 'stencil:step=2'", "run", "did you mean 'steps'?"),
        ("kernel = 'python_cpu'", "run", "did you mean 'python-cpu'?"),
    ],
)
def test_misspelled_words_get_a_suggestion(
    folder: Path, text: str, command: str, says: str
) -> None:
    configured(folder, text)
    result = CliRunner().invoke(main, [command, *(["--dry-run"] if command == "run" else [])])
    assert result.exit_code == 2
    assert says in result.output


def test_a_misspelled_variable_stops_its_own_command_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_METG_BLOKS", "3")
    monkeypatch.setenv("BENCH_COLOUR_OF_THE_SKY", "blue")  # of somebody else
    output = planned()
    assert "fan-in, noop" in output
    assert "Warning: the environment variable BENCH_METG_BLOKS" in output
    assert "COLOUR" not in output
    result = CliRunner().invoke(main, ["metg"])
    assert result.exit_code == 2
    assert "did you mean BENCH_METG_BLOCKS?" in result.output


def test_the_more_specific_table_counts(folder: Path) -> None:
    configured(folder, "blocks = 3\n[tool.bench.run]\nblocks = 4")
    assert "4 blocks" in planned()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("rnu", "did you mean 'run'?"),
        ("walk", "commands: run"),
        ("compar", "did you mean 'compare'?"),
    ],
)
def test_misspelled_commands_get_a_suggestion(command: str, says: str) -> None:
    result = CliRunner().invoke(main, [command])
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize("share", ["0.03", "3%", "3 %", " 3%"])
def test_a_share_may_be_in_percent(share: str) -> None:
    assert "50 blocks at most" in planned("--precision", share)
    options = asdict(RunOptions(precision=0.03))
    content = json.loads(planned("--precision", share, "--format", "json"))
    assert content["precision"] == pytest.approx(options["precision"])


def test_what_is_no_share_is_refused() -> None:
    assert "did you mean 3%?" in planned("--precision", "3")
    assert "'much' is not a share like 0.03 or 3%" in planned("--precision", "much")


def test_an_empty_item_in_a_list_is_refused(folder: Path) -> None:
    assert "--shapes has an empty item: 'chain,,fan-in'" in planned("--shapes", "chain,,fan-in")
    assert "not '1,,2'" in planned("--max-workers", "1,,2")


def test_a_range_of_workers_is_understood() -> None:
    output = planned("--max-workers", "1-3,8", "--backends", "threads", "--shapes", "chain")
    assert [line.split()[1] for line in output.splitlines() if "threads" in line] == list("1238")


@pytest.mark.parametrize(
    ("command", "parameter", "incomplete", "offered"),
    [
        ("run", "shapes", "chain,fan", ["chain,fan-in", "chain,fan-out"]),
        ("run", "shapes", "fan-in,fan", ["fan-in,fan-out"]),  # what is in the list already
        ("run", "shapes", "stencil:", ["stencil:steps=", "stencil:width="]),
        ("run", "shapes", "chain,stencil:steps=3:", ["chain,stencil:steps=3:width="]),
        ("run", "kernel", "python-r", ["python-read"]),
        ("run", "kernel", "noop,sleep:1", ["noop,sleep:1ms", "noop,sleep:100ms", "noop,sleep:1s"]),
        ("run", "backends", "threads,pro", ["threads,processes"]),
        ("compare", "fail_on", "reg", ["regression"]),
        ("metg", "kernel", "n", ["native-cpu"]),
        ("export", "form", "", ["csv", "json", "tasks"]),
        ("compare", "fail_on", "regression,", ["regression,inconclusive", "regression,unusable"]),
    ],
)
def test_names_are_completed_in_lists(
    command: str, parameter: str, incomplete: str, offered: list[str]
) -> None:
    completed = main.commands[command]
    (option,) = (one for one in completed.params if one.name == parameter)
    with completed.make_context(command, ["--help-me"], resilient_parsing=True) as ctx:
        assert [item.value for item in option.shell_complete(ctx, incomplete)] == offered


def test_a_file_without_our_table_is_left_alone(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert "fan-in, noop" in planned()


def test_another_command_has_a_table_and_variables_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is set for `bench run` would often mean nothing there."""
    configured(folder, 'max-workers = "1,2,4"\n[tool.bench.metg]\nformat = "json"\nblocks = 3')
    monkeypatch.setenv("BENCH_KERNEL", "sleep:5ms,noop")
    monkeypatch.setenv("BENCH_METG_BLOCKS", "4")
    asked: dict[str, object] = {}
    monkeypatch.setattr("bench.commands.metg.metg", lambda request: asked.update(asdict(request)))
    result = CliRunner().invoke(main, ["metg"])
    assert result.exit_code == 0, result.output
    assert (asked["kernel"], asked["form"], asked["blocks"]) == ("native-cpu", "json", 4)


def test_a_wrong_variable_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_BLOCKS", "x")
    assert "'x' is not a valid integer range (from BENCH_BLOCKS)" in planned()


def test_the_table_of_a_wrong_value_is_named(folder: Path) -> None:
    configured(folder, '[tool.bench.metg]\nblocks = "x"')
    result = CliRunner().invoke(main, ["metg"])
    assert result.exit_code == 2
    assert "(from [tool.bench.metg] of pyproject.toml)" in result.output


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MAX_WORKERS", "a", "not 'a' (from BENCH_MAX_WORKERS)"),
        ("SHAPES", "chian", "did you mean 'chain'? (from BENCH_SHAPES)"),
        ("SHAPES", "fan-in:widht=3", "did you mean 'width'? (from BENCH_SHAPES)"),
        ("KERNEL", "noop,sleep:5", "500us, 20ms or 1.5s (from BENCH_KERNEL)"),
        ("BUDGET", "abc", "not 'abc' (from BENCH_BUDGET)"),
        ("GRAPH", "nothing", "not 'nothing' (from BENCH_GRAPH)"),
        ("WORKFLOW", "/nowhere", "/nowhere (from BENCH_WORKFLOW)"),
        ("RESUME", "/nowhere", "leave out --resume (from BENCH_RESUME)"),
    ],
)
def test_the_source_of_a_value_that_is_checked_later_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"BENCH_{variable}", value)
    arguments = ["run", "--dry-run"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert says in result.output
    monkeypatch.delenv(f"BENCH_{variable}")
    option = f"--{variable.lower().replace('_', '-')}"
    result = CliRunner().invoke(main, [*arguments, option, value])
    assert "(from" not in result.output, "the command line is not named"
    configured(folder, f"{option[2:]} = {value!r}")
    result = CliRunner().invoke(main, arguments)
    assert "(from [tool.bench] of pyproject.toml)" in result.output


def test_only_the_source_of_the_wrong_value_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_KERNEL", "sleep:5ms,noop")
    monkeypatch.setenv("BENCH_SHAPES", "chain")
    result = CliRunner().invoke(main, ["run", "--dry-run", "--backends", "thread"])
    assert result.exit_code == 2
    assert "(from" not in result.output


def test_a_byte_order_mark_does_no_harm(folder: Path) -> None:
    (folder / "pyproject.toml").write_bytes(b'\xef\xbb\xbf[tool.bench]\nkernel = "noop"\n')
    assert "fan-in, noop" in planned()


def test_a_file_in_another_encoding_is_refused(folder: Path) -> None:
    (folder / "pyproject.toml").write_bytes(b"# \xff\n[tool.bench]\nblocks = 3\n")
    assert "pyproject.toml is not TOML: it is not encoded in UTF-8" in planned()


def test_an_option_that_may_be_given_again_is_a_list(folder: Path) -> None:
    configured(folder, 'workflow = ["a.json", "b.json"]')
    assert "no such file or folder: a.json" in planned()
