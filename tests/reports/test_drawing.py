"""Figures do not depend on what the user has set for matplotlib."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from cycler import cycler
from matplotlib import style
from matplotlib.figure import Figure

from reports.drawing import drawing

ROOT = Path(__file__).parents[2]
CHANGED: dict[Any, Any] = {
    "text.usetex": True,
    "savefig.bbox": "tight",
    "path.sketch": (1, 100, 2),
    "axes.formatter.use_mathtext": True,
    "axes.prop_cycle": cycler(color=["red"]),
    "axes.xmargin": 0.4,
    "figure.facecolor": "black",
    "font.size": 30,
    "lines.linewidth": 9,
    "svg.fonttype": "path",
}


def drawn(path: Path) -> bytes:
    with drawing():
        figure = Figure(figsize=(2, 2))
        axes = figure.subplots()
        axes.plot([1, 1e6], [2, 3], label="a line")
        axes.legend()
        figure.savefig(path, metadata={"Date": None})
    return path.read_bytes()


@pytest.mark.parametrize("name", CHANGED)
def test_a_setting_changes_no_figure_and_stays(tmp_path: Path, name: Any) -> None:
    plain = drawn(tmp_path / "plain.svg")
    with mpl.rc_context({name: CHANGED[name]}):
        assert drawn(tmp_path / "changed.svg") == plain
        assert mpl.rcParams[name] == CHANGED[name]


def test_a_style_changes_no_figure(tmp_path: Path) -> None:
    plain = drawn(tmp_path / "plain.svg")
    with style.context(["dark_background", "ggplot"]):
        assert drawn(tmp_path / "changed.svg") == plain


@pytest.mark.parametrize("backend", ["module://no_such_package.inline", "nonsense", "tkagg", ""])
def test_any_choice_of_a_backend_for_windows_is_left_alone(tmp_path: Path, backend: str) -> None:
    program = "import os, reports; print(repr(os.environ['MPLBACKEND']))"
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == repr(backend)
