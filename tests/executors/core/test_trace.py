"""The Chrome trace of a run: rules of the format that Perfetto checks, on runs of every backend."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors import CONTINUE_ON_FAILURE, Graph, Task, Trace, run
from executors.core.trace import Slice, chrome_trace

BACKENDS = ["sequential", "threads", "processes"]


def wait(*_: object) -> None:
    time.sleep(0.002)


def fail(*_: object) -> None:
    raise ValueError("no such file")


GRAPH = Graph(
    [
        Task("load", wait),
        *(Task(f"part{index}", wait, ("load",)) for index in range(4)),
        Task("join", wait, tuple(f"part{index}" for index in range(4))),
        Task("wrong", fail, ("load",), retries=1),
        Task("never", wait, ("wrong",)),
    ]
)


def check(trace: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Checks the rules of the format; returns the events by their phase."""
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in trace["traceEvents"]:
        events[event["ph"]].append(event)
        assert isinstance(event["pid"], int)
        if event["ph"] != "M":
            assert event["ts"] >= 0
    rows = defaultdict(list)
    for one in events["X"]:
        assert one["dur"] > 0
        rows[one["pid"], one["tid"]].append((one["ts"], one["ts"] + one["dur"]))
    for spans in rows.values():
        spans.sort()
        for (_, end), (begin, _) in pairwise(spans):
            assert end <= begin + 0.01, "slices of a worker do not overlap"
    named = {(one["pid"], one["tid"]) for one in events["M"] if one["name"] == "thread_name"}
    assert named == set(rows)
    starts = {one["id"]: one for one in events["s"]}
    ends = {one["id"]: one for one in events["f"]}
    assert len(starts) == len(events["s"]) and starts.keys() == ends.keys()
    for number, start in starts.items():
        for place in (start, ends[number]):
            spans = rows[place["pid"], place["tid"]]
            assert any(begin <= place["ts"] <= end for begin, end in spans), "it is in a slice"
        assert start["ts"] <= ends[number]["ts"] + 0.01
    last: dict[tuple[int, str], dict[str, Any]] = {}
    for one in events["C"]:
        before = last.get((one["pid"], one["name"]))
        assert before is None or before["ts"] <= one["ts"]
        assert all(value >= 0 for value in one["args"].values())
        last[one["pid"], one["name"]] = one
    for one in last.values():
        assert set(one["args"].values()) == {0}, "counters end at zero"
    return events


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trace_keeps_the_rules_of_its_format(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    report = run(
        GRAPH,
        backend,
        workers=2,
        policy=CONTINUE_ON_FAILURE,
        observers=[Trace(path)],
        measure_cpu=True,
    )
    events = check(json.loads(path.read_text()))
    names = [one["name"] for one in events["X"]]
    assert sorted(names) == sorted(
        ["load", "part0", "part1", "part2", "part3", "join", "wrong", "wrong, attempt 2"]
    )
    assert len(events["s"]) == 9  # one for each need of a task that started
    by_name = {one["name"]: one for one in events["X"]}
    assert by_name["wrong"]["args"]["error"] == "ValueError: no such file"
    assert by_name["part0"]["args"]["cpu_ms"] < by_name["part0"]["dur"] / 1e3
    assert by_name["part0"]["cat"] == "wait"
    report.trace(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0, 5), st.floats(0, 2), st.booleans()), max_size=20
    )
)
def test_any_run_is_a_valid_trace(drawn: list[tuple[int, float, float, bool]]) -> None:
    free_s: dict[int, float] = defaultdict(float)
    slices: list[Slice] = []
    for index, (worker, waits_s, takes_s, needs_last) in enumerate(drawn):
        needs = [slices[-1].task] if slices and needs_last else []
        ready_s = slices[-1].ended_s if needs else 0.0
        started_s = max(free_s[worker], ready_s) + waits_s
        free_s[worker] = ended_s = started_s + takes_s
        slices.append(
            Slice(f"t{index}", "k", f"w{worker}", 1, ready_s, started_s, ended_s, None, "", needs)
        )
    check(chrome_trace([("a", slices), ("b", slices)]))


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    report = run(Graph([Task("a", wait)]), "sequential")
    with pytest.raises(OSError, match="No such file"):
        report.trace(tmp_path / "missing" / "trace.json")
