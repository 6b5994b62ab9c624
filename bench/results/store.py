"""The results file: JSON Lines with what was planned, what was measured, and how it ended.

::

    {"schema": 3, "config": ..., "machine": ...}   the header, once
    {"run": ...}                                   a Measurement
    {"ceiling": ...}                               a CeilingSample
    {"interference": ...}                          an Interference ("window" in schema 2)
    {"end": ...}                                   why nothing more was measured
    {"extended": ...}                              since then the run ends later: new options

Each line is appended whole, flushed and fsynced. So whatever happens to a run, the lines before are
intact, and `ResultsWriter.resume` continues after them. Figures and pages are drawn from this file
alone.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, get_type_hints

from bench import BenchError
from bench.machine.counters import Interference
from bench.results.case import Case
from bench.results.schema import LARGEST, check_fields, check_header, check_keys
from executors.core.tables import data_frame

SCHEMA = 3
BYTE_ORDER_MARK = "\ufeff"  # some editors put it in front
READABLE = (2, SCHEMA)
FILE_NAME = "results.jsonl"


# Of a measurement in a table: all its fields but the curve of busy cores.
COLUMNS = [
    *("shape", "kernel", "backend", "workers", "block", "wall_s", "makespan_s", "start_s"),
    *("first_s", "work_s", "span_s", "cpu_s", "memory_bytes"),
]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One timed run of one case.

    Attributes:
        block: number of the block, from 0.
        wall_s: from the call of `run` until nothing is running.
        makespan_s: from the start of driving to the end of the last task.
        start_s: how long its pool took to start; the run itself found the pool warm.
        work_s: the sum of the tasks' measured times.
        span_s: the longest path through the graph in the tasks' measured times.
        cpu_s: CPU time of all processes of the tree during the run.
        busy: pairs of seconds since the start and the mean of busy cores since the previous pair.
        memory_bytes: largest sum of resident sizes (shared pages count in each process).
        first_s: for a graph of one's own, the time of the first run on this pool; else None,
            because a pool is warmed up with tasks of its own.
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
    first_s: float | None = None

    @property
    def cold_s(self) -> float:
        """The first run and the start of the pool."""
        return self.start_s + (self.wall_s if self.first_s is None else self.first_s)

    @property
    def case(self) -> Case:
        return Case(self.shape, self.kernel, self.backend, self.workers)

    @property
    def row(self) -> list[object]:
        """The values of `COLUMNS`."""
        return [getattr(self, column) for column in COLUMNS]

    @property
    def utilisation(self) -> float:
        """CPU time over workers x wall: the share of its workers that a run kept busy."""
        return self.cpu_s / (self.workers * self.wall_s)


@dataclass(frozen=True, slots=True)
class CeilingSample:
    """What independent processes reach: the same work in plain loops, without a scheduler.

    Attributes:
        one_s: seconds that one process took, alone.
        all_s: seconds until each of `workers` processes had done the same, side by side.
    """

    kernel: str
    workers: int
    block: int
    one_s: float
    all_s: float

    @property
    def value(self) -> float:
        """Their joint speed over that of one."""
        return self.workers * self.one_s / self.all_s


Sample = Measurement | CeilingSample | Interference


@dataclass(frozen=True, slots=True)
class Results:
    """The content of a results file.

    Attributes:
        header: machine, versions, configuration, shapes and calibration.
        measurements, ceilings, interference: in the order in which they were measured.
        end: why nothing more was measured ("complete", "budget", "precision"); None if cut off.
        warnings: about the file.
        sound_bytes: length of the file up to its last whole line.
    """

    header: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    ceilings: tuple[CeilingSample, ...] = ()
    interference: tuple[Interference, ...] = ()
    end: str | None = None
    warnings: tuple[str, ...] = ()
    sound_bytes: int = 0

    @property
    def is_complete(self) -> bool:
        return self.end is not None

    def to_pandas(self) -> Any:
        """A DataFrame with a row per measurement; the columns are those of `bench export`.

        Raises:
            ImportError: pandas is not installed.
        """
        return data_frame(COLUMNS, [run.row for run in self.measurements])


# -- writing --------------------------------------------------------------------------------------


def check_folder(folder: Path) -> None:
    """Creates the folder if it is missing.

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
                f"{folder / name} already exists and is not overwritten; name another folder with"
                " -o, or continue an interrupted run with --resume"
            )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BenchError(f"cannot write to {folder}; name another folder with -o")


class ResultsWriter:
    """Appends to a results file; while it is open, no other writer can open it."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise BenchError(
                f"another run is writing to {path}; wait for it, or name another folder with -o"
            ) from error

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        """A new file with its header.

        Raises:
            BenchError: the folder has results already, or cannot be written.
        """
        check_folder(folder)
        path = folder / FILE_NAME
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        writer = cls(path, _opened(path, flags))
        writer._append({"schema": SCHEMA, **header})
        return writer

    @classmethod
    def resume(cls, folder: Path) -> tuple[Self, Results]:
        """Opens the file of an interrupted run, and returns its content.

        A last line that was cut off is removed.

        Raises:
            BenchError: there is no file, it is broken, or another run is writing to it.
        """
        path = folder / FILE_NAME if folder.is_dir() else folder
        if not path.exists():
            raise BenchError(f"no such file: {path}; there is nothing to continue")
        writer = cls(path, _opened(path, os.O_WRONLY | os.O_APPEND))
        try:
            results = read_results(path)
            os.ftruncate(writer._file, results.sound_bytes)
        except BaseException:
            os.close(writer._file)
            raise
        return writer, results

    def append(self, sample: Sample) -> None:
        """Writes one line; it is on the disk when this returns."""
        self._append({KINDS[type(sample)]: asdict(sample)})

    def extend(self, options: Mapping[str, Any]) -> None:
        """Writes that a run goes on until other options end it: blocks, budget, precision."""
        self._append({"extended": dict(options)})

    def end(self, reason: str) -> None:
        """Writes why nothing more is measured."""
        self._append({"end": reason})

    def _append(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line) + "\n").encode()
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _opened(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags, 0o644)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from error


# -- reading --------------------------------------------------------------------------------------

KINDS: dict[type, str] = {
    Measurement: "run",
    CeilingSample: "ceiling",
    Interference: "interference",
}
_CLASSES: dict[str, type] = {kind: sample for sample, kind in KINDS.items()}
_OLD_KINDS = {"window": "interference"}  # of schema 2
_HINTS = {kind: get_type_hints(sample) for kind, sample in _CLASSES.items()}
_ADDED: dict[str, dict[str, Any]] = {"run": {"first_s": None}}  # older files lack them
_STOPPING = {"blocks": int, "budget": str | None, "precision": float | None}
_POSITIVE = ("workers", "wall_s", "one_s", "all_s")
_SIGNED = ("foreign_s",)  # may be a little below 0


def read_results(path: Path) -> Results:
    """Reads a results file, or the one in a folder.

    A last line without its end, which an interrupted run may leave, is dropped with a warning.

    Raises:
        BenchError: no such file, or a malformed line (with its number).
    """
    if path.is_dir():
        path = path / FILE_NAME
    try:
        text = path.read_bytes().decode("utf-8")  # unchanged: line ends count as bytes
    except FileNotFoundError:
        raise BenchError(f"no such file: {path}; create one with: bench run") from None
    except UnicodeDecodeError:
        raise BenchError(f"{path} is not a results file: it is not text") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None
    *lines, rest = text.split("\n")
    warnings = (f"{path}: its last line is cut off and was dropped",) if rest else ()
    if not lines:
        raise BenchError(
            f"{path} has no complete header line, so nothing was measured;"
            " remove it and start again"
        )
    header = _header(path, _parsed(path, 1, lines[0].removeprefix(BYTE_ORDER_MARK)))
    samples: dict[str, list[Any]] = {kind: [] for kind in _CLASSES}
    measured = set()
    end = None
    for number, line in enumerate(lines[1:], 2):
        kind, sample = _sample(path, number, _parsed(path, number, line))
        if kind == "end":
            end = sample
        elif kind == "extended":
            header, end = _extended(header, sample), None
        else:
            samples[kind].append(sample)
        if kind == "run":
            if (key := (sample.case, sample.block)) in measured:
                raise BenchError(f"{path}, line {number}: repeats block {sample.block} of {key[0]}")
            measured.add(key)
    return Results(
        header,
        measurements=tuple(samples["run"]),
        ceilings=tuple(samples["ceiling"]),
        interference=tuple(samples["interference"]),
        end=end,
        warnings=warnings,
        sound_bytes=len(text.encode()) - len(rest.encode()),
    )


def _header(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    if header.get("schema") not in READABLE:
        raise BenchError(
            f"{path}, line 1: not a header of schema {' or '.join(map(str, READABLE))};"
            " was it written by another version?"
        )
    try:
        check_header(header)
    except TypeError as error:
        raise BenchError(f"{path}, line 1: {error}") from None
    return header


def _extended(header: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The header as if the run had been started with these options."""
    config = header["config"]
    blocks = options.get("blocks") or config["blocks"]
    cases = header["planned"] // max(1, config["blocks"])
    return {
        **header,
        "planned": blocks * cases,
        "config": {**config, "blocks": blocks, "options": {**config["options"], **options}},
    }


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate could not be printed
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}, line {number}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise BenchError(f"{path}, line {number}: not a JSON object")
    return value


def _sample(path: Path, number: int, line: dict[str, Any]) -> tuple[str, Any]:
    kind: str
    content: Any
    kind, content = next(iter(line.items()), ("", None))
    kind = _OLD_KINDS.get(kind, kind)
    try:
        if kind == "end" and isinstance(content, str):
            return kind, content
        if kind == "extended":
            check_keys(content, {}, "the extension")
            check_fields(content, {name: _STOPPING[name] for name in content}, "the extension")
            return kind, content
        if kind not in _CLASSES:
            raise ValueError(
                f"must be one of {', '.join(_CLASSES)} end and extended, not {kind[:40]!r}"
            )
        check_keys(content, {}, f"the {kind}")
        content = {**_ADDED.get(kind, {}), **content}
        check_fields(content, _HINTS[kind], f"the {kind}")
        for name in _HINTS[kind]:
            _check_range(name, content[name])
        values = {name: content[name] for name in _HINTS[kind]}
        if "busy" in values:
            values["busy"] = [(float(at_s), float(cores)) for at_s, cores in values["busy"]]
        return kind, _CLASSES[kind](**values)
    except (TypeError, ValueError, OverflowError) as error:
        raise BenchError(f"{path}, line {number}: {error}") from None


def _check_range(name: str, value: Any) -> None:
    if isinstance(value, (int, float)):
        least = -LARGEST if name in _SIGNED else 0
        if not least <= value < LARGEST:
            raise ValueError(f"{name} is out of range: {str(value)[:40]}")
        if name in _POSITIVE and value <= 0:
            raise ValueError(f"{name} must be above 0")
