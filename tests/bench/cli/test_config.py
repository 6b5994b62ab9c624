"""Options: flag over environment over [tool.bench]."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main

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


def test_a_byte_order_mark_does_no_harm(folder: Path) -> None:
    (folder / "pyproject.toml").write_bytes(b'\xef\xbb\xbf[tool.bench]\nkernel = "noop"\n')
    assert "fan-in, noop" in planned()


def test_a_file_in_another_encoding_is_refused(folder: Path) -> None:
    (folder / "pyproject.toml").write_bytes(b"# \xff\n[tool.bench]\nblocks = 3\n")
    assert "pyproject.toml is not TOML: it is not encoded in UTF-8" in planned()


def test_an_option_that_may_be_given_again_is_a_list(folder: Path) -> None:
    configured(folder, 'workflow = ["a.json", "b.json"]')
    assert "no such file or folder: a.json" in planned()
