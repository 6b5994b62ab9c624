"""The figure of speedup by the size of values, from results whose truth is known."""

from __future__ import annotations

from pathlib import Path

from bench.analysis.summary import summarise
from bench.results.store import read_results
from reports import write_report
from reports.payload import sweeps
from tests.bench.results.written import write

# Threads stay twice as fast, processes get slower with larger values; arrays are another kind.
TIMES_S = {
    ("fan-in", f"python-cpu:20ms{payload}", backend, workers): seconds
    for payload, processes_s in (("", 0.1), ("+1kB", 0.1), ("+1MB", 0.4), ("+array:1GB", 0.2))
    for backend, workers, seconds in (
        ("sequential", 1, 0.2),
        ("threads", 1, 0.2),
        ("threads", 2, 0.1),
        ("processes", 2, processes_s),
    )
}


def test_a_sweep_has_the_sizes_of_one_kind_in_order_on_as_many_workers_as_cpus(
    tmp_path: Path,
) -> None:
    groups = summarise(read_results(write(tmp_path, TIMES_S, noise=0.001))).groups
    values, arrays = sweeps(groups, 2)
    assert values.sizes == ["0", "1kB", "1MB"]
    assert arrays.sizes == ["0", "array:1GB"]
    assert set(values.lines) == {"threads", "processes"}
    assert [row.case.workers for row in values.lines["threads"]] == [2, 2, 2]
    speedups = [round(row.speedup.value, 1) for row in values.lines["processes"]]
    assert speedups == [2.0, 2.0, 0.5]
    assert [round(row.speedup.value, 1) for row in arrays.lines["processes"]] == [2.0, 1.0]


def test_one_size_alone_has_no_figure(tmp_path: Path) -> None:
    times_s = {key: value for key, value in TIMES_S.items() if "+" not in key[1]}
    groups = summarise(read_results(write(tmp_path, times_s))).groups
    assert not list(sweeps(groups, 2))


def test_both_pages_show_the_figure_and_its_table(tmp_path: Path) -> None:
    page = write_report(read_results(write(tmp_path, TIMES_S, noise=0.001)), tmp_path / "out")
    text = page.read_text()
    name = "payload-fan-in-python-cpu-20ms-by-the-size-of-the-values"
    assert "processes from 2.00 to 0.50, threads from 2.00 to 2.00." in text
    assert f"({name}.svg)" in text
    assert "| backend | workers | 0 | 1kB | 1MB |" in text
    drawn = (tmp_path / "out" / f"{name}.svg").read_text()
    for label in ("1kB", "1MB", "size of the values", "threads with 2"):
        assert label in drawn
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count(", by the size of the values</h2>") == 1
    assert html.count(", by the size of the arrays</h2>") == 1
