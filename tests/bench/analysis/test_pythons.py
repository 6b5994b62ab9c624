"""What a report says of several Pythons, from results with known truths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import BenchError
from bench.analysis.pythons import has_lock
from bench.analysis.summary import Summary, finding_of, summarise
from bench.results.store import CeilingSample, LockState, read_results
from reports import write_report
from reports.drawing import style_of
from tests.bench.results.written import line, write

FACTS = {"version": "CPython 3", "gil": "on", "compiler": "GCC 12", "optimisation": "-O2"}
FACTS |= {"executable": "/usr/bin/python", "free_threaded": "no", "configured": ""}
TIMES = {  # seconds; 3.13t is slower in one thread, and faster in two
    ("sequential", 1, "3.11"): 0.18,
    ("threads", 2, "3.11"): 0.19,
    ("processes", 2, "3.11"): 0.15,
    ("sequential", 1, "3.13t"): 0.24,
    ("threads", 2, "3.13t"): 0.13,
    ("processes", 2, "3.13t"): 0.16,
}


def written(
    folder: Path,
    times_s: dict[tuple[str, int, str], float] = TIMES,
    kernel: str = "python-cpu:20ms",
    locks: tuple[LockState, ...] = (LockState("3.13t", "off", []),),
    **facts: dict[str, str],
) -> Summary:
    cases: Any = {
        ("fan-in", kernel, backend, workers, python): seconds
        for (backend, workers, python), seconds in times_s.items()
    }
    path = write(folder, {})
    blocks = write(folder, {("fan-in", kernel, "sequential", 1): 1.0}).read_text().splitlines()[:1]
    header = json.loads(blocks[0])
    header["planned"] = 7 * len(times_s)
    header["pythons"] = {
        "3.11": {**FACTS, **facts.get("old", {})},
        "3.13t": {**FACTS, "gil": "off", "free_threaded": "yes", **facts.get("new", {})},
    }
    lines = [header, *_runs(folder / "more", cases), *map(line, locks), {"end": "complete"}]
    lines[-1:-1] = [
        line(CeilingSample(kernel, 2, block, 0.1, 0.1 if python == "3.11" else 0.125, python))
        for block in range(7)
        for python in ("3.11", "3.13t")
    ]
    path.write_text("".join(json.dumps(content) + "\n" for content in lines))
    return summarise(read_results(path))


def _runs(folder: Path, cases: Any) -> list[Any]:
    lines = []
    for number, (case, seconds) in enumerate(cases.items()):
        path = write(folder / str(number), {case[:4]: seconds}, seed=number)
        for text in path.read_text().splitlines()[1:-1]:
            run = json.loads(text)
            run["run"]["python"] = case[4]
            lines.append(run)
    return lines


def test_speedups_are_over_the_first_python_and_over_its_own(tmp_path: Path) -> None:
    (group,) = written(tmp_path).groups
    assert group.baseline == "sequential on 3.11"
    rows = {(row.case.backend, row.case.python): row for row in group.rows}
    threads = rows["threads", "3.13t"]
    assert threads.speedup.value == pytest.approx(0.18 / 0.13, rel=0.03)
    assert threads.own.value == pytest.approx(0.24 / 0.13, rel=0.03)
    assert rows["sequential", "3.13t"].speedup.value == pytest.approx(0.75, rel=0.03)
    assert rows["sequential", "3.13t"].own.value == 1.0
    assert rows["threads", "3.11"].speedup == rows["threads", "3.11"].own
    assert threads.efficiency == pytest.approx(threads.own.value / 2)
    assert threads.of_ceiling == pytest.approx(threads.own.value / 1.6)  # of its own Python


def test_the_pick_is_the_fastest_and_not_the_largest_speedup(tmp_path: Path) -> None:
    slow = {**TIMES, ("sequential", 1, "3.13t"): 0.4, ("threads", 2, "3.13t"): 0.2}
    summary = written(tmp_path, slow)
    (group,) = summary.groups
    assert max(group.rows, key=lambda row: row.own.value).case.python == "3.13t"
    assert group.pick.case.where == "processes with 2 on 3.11"
    assert "2 processes on 3.11" in summary.finding


def test_another_python_alone_may_be_the_pick(tmp_path: Path) -> None:
    alone = {("sequential", 1, "3.11"): 0.18, ("sequential", 1, "3.13t"): 0.12}
    (group,) = written(tmp_path, {**alone, ("threads", 2, "3.13t"): 0.13}).groups
    assert group.pick.case.where == "sequential on 3.13t"
    assert finding_of(group).startswith("sequential on 3.13t: 1.")


def test_whether_threads_take_turns_is_known_of_each_python(tmp_path: Path) -> None:
    results = written(tmp_path).results
    assert has_lock(results, "3.11") and not has_lock(results, "3.13t")
    state = LockState("3.13t", "on", ["_old_module"])
    assert has_lock(written(tmp_path, locks=(state,)).results, "3.13t")
    interrupted = written(tmp_path, locks=()).results  # what is known is from the beginning
    assert has_lock(interrupted, "3.11") and not has_lock(interrupted, "3.13t")
    assert has_lock(interrupted, "")  # this one, by the versions in the header


def test_a_lock_that_was_switched_on_is_said_with_what_did_it(tmp_path: Path) -> None:
    state = LockState("3.13t", "on", ["_old_module"])
    page = write_report(written(tmp_path, locks=(state,)), tmp_path / "out").read_text()
    assert "Python 3.13t is free-threaded, but its interpreter lock was on" in page
    assert "it was switched on by _old_module" in page
    table = next(row for row in page.splitlines() if row.startswith("| 3.13t | CPython"))
    assert table.split(" | ")[2] == "on"


def test_a_lock_that_stayed_off_is_not_worth_a_sentence(tmp_path: Path) -> None:
    page = write_report(written(tmp_path), tmp_path / "out").read_text()
    assert "switched on" not in page


def test_builds_that_differ_are_said(tmp_path: Path) -> None:
    page = write_report(
        written(tmp_path, new={"optimisation": "-O3, PGO"}), tmp_path / "out"
    ).read_text()
    assert "built differently: 3.11 with GCC 12 -O2, 3.13t with GCC 12 -O3, PGO." in page
    same = write_report(written(tmp_path / "same"), tmp_path / "more").read_text()
    assert "built differently" not in same


def test_what_threads_share_is_named_with_what_it_costs(tmp_path: Path) -> None:
    times = {**TIMES, ("threads", 2, "3.13t"): 0.8}
    (group,) = written(tmp_path, times, kernel="python-shared:20ms").groups
    shared = "2 threads that share a dict and a list are {:.2f} times as fast as one on {}."
    assert group.sharing == tuple(
        shared.format(row.own.value, row.case.python)
        for row in group.rows
        if row.case.backend == "threads"
    )
    assert " 0.30 times" in group.sharing[1]
    (other,) = written(tmp_path / "other").groups
    assert other.sharing == ()


def test_a_python_that_the_header_does_not_know_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {("fan-in", "noop", "sequential", 1): 0.1})
    path.write_text(path.read_text().replace('"python": ""', '"python": "3.99"'))
    with pytest.raises(BenchError, match=r"line 2: the header does not know Python 3\.99"):
        read_results(path)


def test_each_python_has_a_look_of_its_own_in_one_panel(tmp_path: Path) -> None:
    times = {**TIMES, **{("interpreters", 2, python): 0.2 for python in ("3.11", "3.13t")}}
    (group,) = written(tmp_path, times).groups
    write_report(written(tmp_path, times), tmp_path / "out")
    (figure,) = (tmp_path / "out").glob("speedup-*.svg")
    text = figure.read_text()
    assert "Other executors" not in text
    assert text.count("max_workers (log scale)") == 1
    assert all(row.case.line in text for row in group.rows)
    looks = {style_of("threads", place)[1:3] for place in range(4)}
    assert len(looks) == 4
