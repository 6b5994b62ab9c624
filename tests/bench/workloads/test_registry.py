"""Shapes, kernels and exporters of other packages, which entry points name."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.results import exporters
from bench.results.store import read_results
from bench.workloads import kernels, shapes
from bench.workloads.kernels import KERNELS, Kernel, calibrate
from bench.workloads.registry import Registry
from tests.bench.results.written import TYPICAL, write

PACKAGE = '''
import time
from bench.workloads.kernels import Kernel

def ladder(rungs: int = 4):
    """Two rungs at a time"""
    for rung in range(rungs):
        yield f"rung{rung}", (f"rung{rung - 1}",) if rung else ()

def _spin(units):
    for _ in range(int(units)):
        time.monotonic()

spin = Kernel("spin", "asks for the time", "Clock watching", _spin, gil=1.0)
wrong = Kernel("another", "has another name", "Nothing", _spin)

def lines(results):
    """The number of measurements"""
    return f"{len(results.measurements)}\\n"
'''
POINTS = """
[bench.shapes]
ladder = plugin_of_test:ladder
[bench.kernels]
spin = plugin_of_test:spin
broken = plugin_of_test:missing
wrong = plugin_of_test:wrong
[bench.exporters]
lines = plugin_of_test:lines
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with entry points."""
    (tmp_path / "plugin_of_test.py").write_text(PACKAGE)
    info = tmp_path / "plugin_of_test-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-of-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    registries: list[Registry[Any]] = [
        kernels.KERNELS,
        shapes.SHAPES,
        exporters.EXPORTERS,
    ]
    before = [dict(registry._things) for registry in registries]
    for registry in registries:
        monkeypatch.setattr(registry, "_points", None)
    yield tmp_path
    for registry, things in zip(registries, before, strict=True):
        registry._things.clear()
        registry._things.update(things)
    sys.modules.pop("plugin_of_test", None)


@pytest.mark.usefixtures("plugin", "undrawn")
def test_they_are_used_like_our_own(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["list"]).output
    for words in ("ladder", "Two rungs at a time", "spin", "asks for the time", "lines"):
        assert words in listed
    arguments = ["run", "--shapes", "ladder:rungs=2", "--kernel", "spin:1ms", "--blocks", "1"]
    arguments += ["--backends", "threads", "--max-workers", "2", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "Clock watching: probably " in result.output
    exported = CliRunner().invoke(main, ["export", str(tmp_path / "out"), "--format", "lines"])
    assert exported.output == "2\n"


def test_worker_processes_find_the_kernel_of_another_package(plugin: Path) -> None:
    script = (
        "from bench.workloads.kernels import calibrate, sized\n"
        "from executors import Graph, Task, run\n"
        "work = calibrate(sized('spin:1ms'))\n"
        "print(run(Graph([Task('a', work)]), 'processes', workers=1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(plugin)},
    )
    assert ": 1 succeeded" in done.stdout


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(("kernel", "says"), [("broken", "missing"), ("wrong", "the name 'wrong'")])
def test_what_cannot_be_used_is_one_message(kernel: str, says: str) -> None:
    result = CliRunner().invoke(main, ["run", "--kernel", kernel, "--dry-run"])
    assert result.exit_code == 2
    assert f"kernel '{kernel}' (plugin_of_test:" in result.output
    assert says in result.output


def test_a_registry_is_a_mapping() -> None:
    things: Registry[int] = Registry("bench.nothing", "thing", lambda name, thing: int(thing))
    things["one"] = 1
    assert dict(things) == {"one": 1}
    assert len(things) == 1
    with pytest.raises(KeyError):
        things["two"]
    del things["one"]
    assert "one" not in things


def test_a_kernel_added_by_hand_is_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(units: float) -> None:
        for _ in range(int(units)):
            pass

    monkeypatch.setitem(KERNELS, "count", Kernel("count", "counts", "Counting", count, gil=1.0))
    assert calibrate(kernels.sized("count:1ms")).units > 10


# -- exporters ----------------------------------------------------------------------------------


def test_csv_has_a_row_per_measurement(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, blocks=2)
    output = CliRunner().invoke(main, ["export", str(path)]).output
    header, *rows = output.splitlines()
    assert header.startswith("shape,kernel,backend,workers,block,wall_s,")
    assert len(rows) == 2 * len(TYPICAL)
    frame = pytest.importorskip("pandas").read_csv(StringIO(output))
    ours = read_results(path).to_pandas()
    assert list(frame.columns) == list(ours.columns)
    assert frame["wall_s"].sum() == pytest.approx(ours["wall_s"].sum())


def test_an_export_overwrites_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, blocks=1)
    mine = tmp_path / "mine.csv"
    arguments = ["export", str(path), "-o", str(mine)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    before = mine.read_bytes()
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "already exists and is not overwritten" in result.output
    assert mine.read_bytes() == before
    wrong = CliRunner().invoke(main, ["export", str(path), "--format", "cvs"])
    assert "did you mean 'csv'?" in wrong.output


def test_an_exporter_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="must be a function"):
        exporters._accepted("x", 3)


@pytest.mark.parametrize("returned", [None, b"bytes", "\ud800"])
def test_a_broken_exporter_is_one_message_and_leaves_no_file(
    returned: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(exporters.EXPORTERS, "odd", lambda results: returned)
    path = write(tmp_path, TYPICAL, blocks=1)
    out = tmp_path / "out.txt"
    result = CliRunner().invoke(main, ["export", str(path), "--format", "odd", "-o", str(out)])
    assert result.exit_code == 2
    assert "exporter 'odd' failed: " in result.output
    assert not out.exists()
