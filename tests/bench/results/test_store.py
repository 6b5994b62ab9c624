"""The results file: whole lines, read back as they were, refused with the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import BenchError
from bench.machine.counters import Interference
from bench.results.case import Case
from bench.results.schema import conforms
from bench.results.store import FILE_NAME, CeilingSample, ResultsWriter, read_results
from tests.bench.results.written import TYPICAL, header, measurement, write

CEILING = CeilingSample("native-cpu:20ms", 2, 0, 0.1, 0.11)
WINDOW = Interference("threads", 2, 0, 1.5, -0.01, 0.0, None, 0.2)
CASE = Case("fan-in", "sleep:20ms", "threads", 2)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    measurements = [measurement(CASE, 0.1 + 0.01 * block, block) for block in range(3)]
    with ResultsWriter.create(
        tmp_path / "new" / "folder", header(["fan-in"], ["sleep:20ms"], 3)
    ) as writer:
        for sample in measurements:
            writer.append(sample)
            assert read_results(writer.path).measurements[-1] == sample
        assert not read_results(writer.path).is_complete
        writer.append(CEILING)
        writer.append(WINDOW)
        writer.end("precision")
    results = read_results(tmp_path / "new" / "folder")
    assert list(results.measurements) == measurements
    assert (results.ceilings, results.interference) == ((CEILING,), (WINDOW,))
    assert results.is_complete
    assert results.end == "precision"
    assert results.header["cpus"] == 2
    assert results.warnings == ()


def test_a_folder_with_results_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL)
    before = path.read_bytes()
    with pytest.raises(BenchError, match="already exists and is not overwritten; name another"):
        ResultsWriter.create(tmp_path, {})
    assert path.read_bytes() == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BenchError, match="name another folder"):
        ResultsWriter.create(tmp_path / "file", {})
    with pytest.raises(BenchError, match="cannot write results"):
        ResultsWriter.create(tmp_path / "file" / "below", {})
    assert (tmp_path / "file").read_text() == "mine"


def test_a_last_line_that_is_cut_off_is_dropped_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, end=None)
    whole = path.read_text()
    path.write_text(whole[: -len("}\n") - 20])
    results = read_results(path)
    assert len(results.measurements) == 7 * len(TYPICAL) - 1
    assert not results.is_complete
    assert "cut off" in results.warnings[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: [], "has no complete header line"),
        (lambda lines: ["{"], "line 1: not JSON"),
        (lambda lines: ["[]"], "line 1: not a JSON object"),
        (lambda lines: ['{"schema": 99}'], "line 1: not a header of schema 2 or 3"),
        (lambda lines: [json.dumps({"schema": 2})], "line 1: the header lacks 'planned'"),
        (lambda lines: [lines[0].replace('"planned": 84', '"planned": "many"')], "'planned' of"),
        (lambda lines: [lines[0].replace('"versions"', '"other"')], "lacks 'versions'"),
        (lambda lines: [lines[0].replace('"depth"', '"deepness"')], "shape 'fan-in' lacks 'depth'"),
        (
            lambda lines: [lines[0].replace('"depth"', '"span_s": "2", "depth"')],
            "'span_s' of shape 'fan-in' must be a number or null, not '2'",
        ),
        (
            lambda lines: [lines[0], lines[1].replace('"span_s": 0.04', '"span_s": NaN')],
            "span_s is out of range: nan",
        ),
        (
            lambda lines: [lines[0], lines[1].replace('"cpu_s": ', '"cpu_s": -')],
            "cpu_s is out of range",
        ),
        (lambda lines: [lines[0].replace('"cpus": 2', '"cpus": 0')], "out of range"),
        (lambda lines: ["[" * 100_000], "line 1: not JSON"),
        (lambda lines: [*lines, "nonsense"], "line 86: not JSON"),
        (
            lambda lines: [*lines, "{}"],
            "line 86: must be one of run, ceiling",
        ),
        (lambda lines: [*lines, '{"run": {}}'], "line 86: the run lacks 'shape'"),
        (lambda lines: [*lines, '{"run": 3}'], "line 86: the run must be an object, not '3'"),
        (lambda lines: [*lines, '{"end": 3}'], "line 86: must be one of"),
        (
            lambda lines: [lines[0], lines[1].replace('"wall_s": 0', '"wall_s": -0')],
            "wall_s is out of range",
        ),
        (lambda lines: [lines[0], lines[1].replace('"workers": 1', '"workers": 0')], "above 0"),
        (lambda lines: [lines[0], lines[1].replace('"threads"', "3")], None),
        (lambda lines: [lines[0], lines[1].replace('"workers": 1', '"workers": true')], "line 2"),
        (lambda lines: [lines[0], lines[1].replace('"busy": [[', '"busy": [["x", ')], "line 2"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(
    tmp_path: Path, change: Any, says: str | None
) -> None:
    path = write(tmp_path, TYPICAL, end=None)
    lines = path.read_text().splitlines()
    assert len(lines) == 85
    path.write_text("".join(line + "\n" for line in change(lines)))
    if says is None:
        read_results(path)
        return
    with pytest.raises(BenchError, match=says) as raised:
        read_results(path)
    assert FILE_NAME in str(raised.value)


def test_a_measurement_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[1]]))
    with pytest.raises(BenchError, match=r"line 4: repeats block 0 of fan-in, sleep:20ms"):
        read_results(path)


def test_text_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL)
    path.write_text(path.read_text().replace("a | b", "\\ud800", 1))
    with pytest.raises(BenchError, match="line 1: not JSON"):
        read_results(path)


def test_a_byte_order_mark_does_no_harm_and_stays(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, end=None)
    plain = read_results(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    marked = read_results(path)
    assert marked.measurements == plain.measurements
    assert marked.sound_bytes == plain.sound_bytes + 3


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="create one with: bench run"):
        read_results(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="is not text"):
        read_results(tmp_path)


def test_a_file_of_schema_2_is_read_as_before(tmp_path: Path) -> None:
    """It calls interference "window"."""
    others = [Interference("threads", 2, 0, 1.0, -0.1, 0.0, None, 0.0)]
    path = write(tmp_path, TYPICAL, others=others)
    now = read_results(path)
    assert now.interference == tuple(others)
    text = path.read_text().replace('"schema": 3', '"schema": 2')
    path.write_text(text.replace('{"interference": ', '{"window": '))
    before = read_results(path)
    assert (before.measurements, before.interference) == (now.measurements, now.interference)


def test_what_is_of_another_type_is_refused() -> None:
    assert conforms(1, float)
    assert conforms(None, int | None)
    assert conforms([[1, 2.5]], list[tuple[float, float]])
    assert not conforms(True, int)
    assert not conforms(True, float)
    assert not conforms(1.5, int)
    assert not conforms([[1, 2, 3]], list[tuple[float, float]])
    assert not conforms("1", int | None)
    assert conforms(["a", "b"], tuple[str, ...])
    assert not conforms(["a", 1], tuple[str, ...])
