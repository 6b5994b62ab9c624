"""Options: flag over environment over [tool.bench]."""

from __future__ import annotations

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
        ("width = 3", "has 'width', which is no option of any command"),
        ("blocks = many", "is no TOML"),
        ("blocks = 'many'", "'many' is not a valid integer"),
        ("[tool.bench.shapes]\nx = 1", "shapes is a table; options are values"),
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
