"""The results file: JSON Lines, one header and then one line a measurement.

Each line is appended whole, flushed and fsynced, so whatever happens to the run, the lines before
are intact. Figures and pages are drawn from this file alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import BenchError
from bench.plan import Case

SCHEMA = 1
FILE_NAME = "results.jsonl"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One timed run of one case.

    Attributes:
        block: number of the block, from 0.
        wall_s: from the call of `run` until nothing runs any more.
        makespan_s: from the first task's turn to the last task's end.
        start_s: how long its pool took to start; the run itself found the pool warm.
        work_s: the sum of the tasks' measured times.
        span_s: the longest path through the graph in the tasks' measured times.
        cpu_s: CPU time of all processes of the tree in that time.
        busy: (seconds since the start, cores busy since the point before) over the run.
        memory_bytes: largest sum of resident sizes seen (shared pages count in each process).
    """

    shape: str
    kernel: str
    backend: str
    workers: int
    block: int
    wall_s: float
    makespan_s: float
    start_s: float
    work_s: float
    span_s: float
    cpu_s: float
    busy: list[tuple[float, float]]
    memory_bytes: int

    @property
    def case(self) -> Case:
        return Case(self.shape, self.kernel, self.backend, self.workers)

    @property
    def utilisation(self) -> float:
        """CPU time over workers x wall: the part of its workers that a run kept busy."""
        return self.cpu_s / (self.workers * self.wall_s)


@dataclass(frozen=True, slots=True)
class Results:
    """The content of a results file.

    Attributes:
        header: machine, versions, configuration, shapes and calibration.
        measurements: in the order in which they were made.
        is_complete: the file has every measurement that its header announces.
    """

    header: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return len(self.measurements) >= int(self.header["planned"])


def check_folder(folder: Path) -> None:
    """Makes the folder, if need be.

    Raises:
        BenchError: it has results already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(
            f"cannot write results to {folder}: {error.strerror}; name another folder with -o"
        ) from error
    for name in (FILE_NAME, "report.md"):
        if (folder / name).exists():
            raise BenchError(
                f"{folder / name} exists already and stays as it is; name another folder with -o"
            )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BenchError(f"cannot write to {folder}; name another folder with -o")


class ResultsWriter:
    """Appends to a new results file.

    Raises:
        BenchError: the folder has results already, or cannot be written.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.path = folder / FILE_NAME
        check_folder(folder)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise BenchError(f"cannot write {self.path}: {error.strerror}") from error
        self._append({"schema": SCHEMA, **header})

    def append(self, measurement: Measurement) -> None:
        """Writes one line; it is on the disk when this returns."""
        self._append(asdict(measurement))

    def _append(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line) + "\n").encode()
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._file)


def read_results(path: Path) -> Results:
    """Reads a results file, or the one in a folder.

    A last line without its end, as an interrupted run may leave it, is dropped with a warning.

    Raises:
        BenchError: no such file, or a line of it is not what it should be (with its number).
    """
    if path.is_dir():
        path = path / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BenchError(f"there is no {path}; make one with: bench run") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"cannot read {path}: {error}") from error
    lines = text.split("\n")
    warnings = []
    if lines.pop():
        warnings.append(f"{path}: its last line is cut off and was dropped")
    if not lines:
        raise BenchError(f"{path} is empty: it has no header line")
    header = _parsed(path, 1, lines[0])
    if header.get("schema") != SCHEMA:
        raise BenchError(
            f"{path}, line 1: no header of schema {SCHEMA}, but {str(header.get('schema'))[:20]};"
            " is it a results file of this version?"
        )
    try:
        _check_form(header, HEADER_FORM, "the header")
        if not 1 <= header["cpus"] < LARGEST or not abs(header["created_s"]) < 1e11:
            raise TypeError("cpus or created_s is out of range")
        for shape in header["config"]["shapes"]:
            _check_form(header["shapes"].get(shape), SHAPE_FORM, f"shape {shape!r}")
        for name, kernel in header["kernels"].items():
            _check_form(kernel, {"units": (int, float)}, f"kernel {name!r}")
    except TypeError as error:
        raise BenchError(f"{path}, line 1: {error}") from None
    measurements = tuple(
        _measurement(path, number, _parsed(path, number, line))
        for number, line in enumerate(lines[1:], 2)
    )
    return Results(header, measurements, tuple(warnings))


NUMBER = (int, float)
LARGEST = 1e15  # of anything that is measured
HEADER_FORM = {
    "planned": int,
    "cpus": int,
    "created_s": NUMBER,
    "config": {"command": str, "shapes": list, "kernels": list, "blocks": int, "seed": int},
    "shapes": {},
    "kernels": {},
    "machine": {
        "system": str,
        "architecture": str,
        "cpu": str,
        "cpus": {},
        "memory_bytes": NUMBER,
        "load_1min": NUMBER,
        "blas_threads": {},
    },
    "versions": {},
}
SHAPE_FORM = dict.fromkeys(("tasks", "edges", "depth", "width", "average_parallelism"), NUMBER)


def _check_form(value: Any, form: Any, place: str) -> None:
    """Checks keys and types as far as the form names them.

    Raises:
        TypeError: says what is missing or wrong, and where.
    """
    kinds = dict if isinstance(form, dict) else form
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{place} is {str(value)[:40]!r}, which it cannot be")
    if isinstance(form, dict):
        for key, inner in form.items():
            if key not in value:
                raise TypeError(f"{place} lacks {key!r}")
            _check_form(value[key], inner, f"{key!r} of {place}")


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}, line {number}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise BenchError(f"{path}, line {number}: not a JSON object")
    return value


_KINDS = {"int": int, "float": NUMBER, "str": str}
MEASUREMENT_FORM = {field.name: _KINDS.get(str(field.type), list) for field in fields(Measurement)}


def _measurement(path: Path, number: int, line: dict[str, Any]) -> Measurement:
    try:
        _check_form(line, MEASUREMENT_FORM, "the measurement")
        line["busy"] = [(float(at_s), float(cores)) for at_s, cores in line["busy"]]
        made = Measurement(**{name: line[name] for name in MEASUREMENT_FORM})
        if made.workers < 1 or not made.wall_s > 0:
            raise ValueError("workers and wall_s must be above 0")
        for name, kind in MEASUREMENT_FORM.items():
            if kind in (int, NUMBER) and not 0 <= line[name] < LARGEST:
                raise ValueError(f"{name} is {str(line[name])[:40]}, which it cannot be")
        return made
    except (TypeError, ValueError, OverflowError) as error:
        raise BenchError(f"{path}, line {number}: {error}") from None
