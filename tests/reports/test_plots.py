"""What figures are made of: labels, styles, panels, curves of CPU time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from bench.results.case import Case
from reports.drawing import STYLES, style_of
from reports.plots import _cpu_until, panels_of, save, unless_crowded
from tests.bench.results.written import measurement


def test_labels_that_would_touch_are_left_out() -> None:
    assert unless_crowded([1, 2, 3, 4]) == ["1", "2", "3", "4"]
    assert unless_crowded([1, 2, 4, 64, 65, 128]) == ["1", "2", "4", "64", "", "128"]


def test_a_backend_has_the_same_style_in_every_figure_and_none_is_without() -> None:
    assert style_of("threads") != style_of("processes")
    assert style_of("dask") == style_of("dask")
    assert len(set(STYLES.values())) == len(STYLES)


@pytest.mark.parametrize("count", [1, 3])
def test_panels_stand_below_one_another(count: int) -> None:
    figure, panels = panels_of(count)
    assert len(panels) == len(figure.axes) == count
    assert figure.get_figwidth() == 4.4


def test_cpu_time_between_samples_is_in_proportion() -> None:
    run = measurement(Case("s", "k", "b", 1), 2.0, busy=[(1.0, 2.0), (2.0, 1.0)])
    used_s = _cpu_until(run, np.array([0.0, 0.5, 1.0, 1.5, 2.0]))
    assert list(used_s) == [0.0, 1.0, 2.0, 2.5, 3.0]


def test_a_figure_is_laid_out_once_for_both_formats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    savefig = Figure.savefig

    def noted(figure: Figure, path: Path, **options: Any) -> None:
        drawn.append(path.suffix)
        assert figure.get_layout_engine() is None
        savefig(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", noted)
    figure, panels = panels_of(2)
    panels[0].plot([1, 2], [1, 2], label="a line")
    save(figure, panels, tmp_path / "figure")
    assert drawn == [".svg", ".png"]
    assert "a line" in (tmp_path / "figure.svg").read_text()
    assert panels[1].get_position().y1 < panels[0].get_position().y0
