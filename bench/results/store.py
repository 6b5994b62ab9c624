"""The results file: JSON Lines, which say what was planned, what was measured, and how it ended.

::

    {"schema": 2, "config": ..., "machine": ...}   the header, once
    {"run": ...}                                   a Measurement
    {"ceiling": ...}                               a CeilingSample
    {"window": ...}                                a Window: what else happened meanwhile
    {"end": ...}                                   why nothing more was measured

Each line is appended whole, flushed and fsynced, so whatever happens to the run, the lines before
are intact, and `ResultsWriter.resume` goes on behind them. Figures and pages are drawn from this
file alone.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import BenchError
from bench.machine.counters import Window
from bench.measure.plan import Case
from bench.results.schema import HEADER_FORM, LARGEST, NUMBER, OPTIONAL, SHAPE_FORM, check_form

SCHEMA = 2
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
        """How many times as fast as one they were together."""
        return self.workers * self.one_s / self.all_s


@dataclass(frozen=True, slots=True)
class Results:
    """The content of a results file.

    Attributes:
        header: machine, versions, configuration, shapes and calibration.
        measurements, ceilings, windows: in the order in which they were made.
        end: why nothing more was measured ("complete", "budget", "precision"); None: cut off.
        warnings: about the file.
        sound_bytes: how long the file is up to its last whole line.
    """

    header: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    ceilings: tuple[CeilingSample, ...] = ()
    windows: tuple[Window, ...] = ()
    end: str | None = None
    warnings: tuple[str, ...] = ()
    sound_bytes: int = 0

    @property
    def is_complete(self) -> bool:
        return self.end is not None


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
                f"{folder / name} exists already and stays as it is; name another folder with -o,"
                " or go on with an interrupted run with --resume"
            )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BenchError(f"cannot write to {folder}; name another folder with -o")


class ResultsWriter:
    """Appends to a results file; while it is open, no other one can."""

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
        made = cls(path, _opened(path, flags))
        made._append({"schema": SCHEMA, **header})
        return made

    @classmethod
    def resume(cls, folder: Path) -> tuple[Self, Results]:
        """Opens the file of an interrupted run, and what is in it.

        A last line that was cut off is removed.

        Raises:
            BenchError: there is none, it is broken, or another run is writing to it.
        """
        path = folder / FILE_NAME if folder.is_dir() else folder
        if not path.exists():
            raise BenchError(f"there is no {path} to go on with")
        made = cls(path, _opened(path, os.O_WRONLY | os.O_APPEND))
        try:
            results = read_results(path)
            os.ftruncate(made._file, results.sound_bytes)
        except BaseException:
            os.close(made._file)
            raise
        return made, results

    def append(self, sample: Measurement | CeilingSample | Window) -> None:
        """Writes one line; it is on the disk when this returns."""
        self._append({KINDS[type(sample)]: asdict(sample)})

    def end(self, reason: str) -> None:
        """Writes that nothing more is to be measured, and why."""
        self._append({"end": reason})

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


def _opened(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags, 0o644)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from error


def read_results(path: Path) -> Results:
    """Reads a results file, or the one in a folder.

    A last line without its end, as an interrupted run may leave it, is dropped with a warning.

    Raises:
        BenchError: no such file, or a line of it is not what it should be (with its number).
    """
    if path.is_dir():
        path = path / FILE_NAME
    try:
        text = path.read_bytes().decode("utf-8")  # as it is: line ends count as bytes
    except FileNotFoundError:
        raise BenchError(f"there is no {path}; make one with: bench run") from None
    except UnicodeDecodeError:
        raise BenchError(f"{path} is no results file: it is not text") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None
    *lines, rest = text.split("\n")
    warnings = (f"{path}: its last line is cut off and was dropped",) if rest else ()
    if not lines:
        raise BenchError(
            f"{path} has no whole header line, so nothing was measured; remove it and begin anew"
        )
    header = _header(path, _parsed(path, 1, lines[0]))
    found: dict[str, list[Any]] = {kind: [] for kind in (*FORMS, "end")}
    seen = set()
    for number, line in enumerate(lines[1:], 2):
        kind, sample = _sample(path, number, _parsed(path, number, line))
        if kind == "run" and (key := (sample.case, sample.block)) in seen:
            raise BenchError(f"{path}, line {number}: block {sample.block} of {sample.case} again")
        if kind == "run":
            seen.add(key)
        found[kind].append(sample)
    return Results(
        header,
        tuple(found["run"]),
        tuple(found["ceiling"]),
        tuple(found["window"]),
        found["end"][-1] if found["end"] else None,
        warnings,
        len(text.encode()) - len(rest.encode()),
    )


def _header(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    if header.get("schema") != SCHEMA:
        raise BenchError(
            f"{path}, line 1: no header of schema {SCHEMA}; is it a results file of this version?"
        )
    try:
        check_form(header, HEADER_FORM, "the header")
        if not 1 <= header["cpus"] < LARGEST or not abs(header["created_s"]) < 1e11:
            raise TypeError("cpus or created_s is out of range")
        for shape in header["config"]["shapes"]:
            sizes = header["shapes"].get(shape)
            check_form(sizes, SHAPE_FORM, f"shape {shape!r}")
            if sizes["tasks"] < 1 or sizes["depth"] < 1:
                raise TypeError(f"shape {shape!r} has no tasks")
        for kernel in header["config"]["kernels"]:
            known = header["kernels"].get(kernel)
            check_form(known, {"kernel": str, "units": NUMBER}, f"kernel {kernel!r}")
            if not 0 <= known["units"] < LARGEST:
                raise TypeError(f"the units of kernel {kernel!r} are out of range")
        if min(header["machine"]["cpus"][name] for name in ("installed", "usable")) < 1:
            raise TypeError("the machine has no CPUs")
    except TypeError as error:
        raise BenchError(f"{path}, line 1: {error}") from None
    return header


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate could not be printed
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}, line {number}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise BenchError(f"{path}, line {number}: not a JSON object")
    return value


KINDS = {Measurement: "run", CeilingSample: "ceiling", Window: "window"}
_TYPES = {"int": int, "float": NUMBER, "float | None": OPTIONAL, "str": str}
FORMS = {
    kind: {field.name: _TYPES.get(str(field.type), list) for field in fields(made)}
    for made, kind in KINDS.items()
}
_MADE = {kind: made for made, kind in KINDS.items()}
SIGNED = ("foreign_s",)  # may come out a little below 0


def _sample(path: Path, number: int, line: dict[str, Any]) -> tuple[str, Any]:
    kind: str
    content: Any
    kind, content = next(iter(line.items()), ("", None))
    try:
        if kind == "end" and isinstance(content, str):
            return kind, content
        if kind not in FORMS:
            raise ValueError(f"it is none of {', '.join(FORMS)} and end, but {kind[:40]!r}")
        form = FORMS[kind]
        check_form(content, form, f"the {kind}")
        for name, types in form.items():
            value = content[name]
            low = -LARGEST if name in SIGNED else 0
            if types in (int, NUMBER, OPTIONAL) and value is not None:
                if not low <= value < LARGEST:
                    raise ValueError(f"{name} is {str(value)[:40]}, which it cannot be")
                if name in POSITIVE and value <= 0:
                    raise ValueError(f"{name} must be above 0")
        values = {name: content[name] for name in form}
        if "busy" in values:
            values["busy"] = [(float(at_s), float(cores)) for at_s, cores in values["busy"]]
        return kind, _MADE[kind](**values)
    except (TypeError, ValueError, OverflowError) as error:
        raise BenchError(f"{path}, line {number}: {error}") from None


POSITIVE = ("workers", "wall_s", "one_s", "all_s")
