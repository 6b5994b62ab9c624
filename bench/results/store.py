"""The results file: JSON Lines with what was planned, what was measured, and how it ended.

::

    {"schema": 3, "config": ..., "machine": ...}   the header, once
    {"run": ...}                                   a Measurement
    {"ceiling": ...}                               a CeilingSample
    {"interference": ...}                          an Interference ("window" in schema 2)
    {"graph": ...}, {"timeline": ...}              GraphTasks, and a Timeline for each case
    {"lock": ...}                                  a LockState for each free-threaded build
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
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from bench import BenchError
from bench.machine.counters import Interference
from bench.results.samples import CeilingSample as CeilingSample
from bench.results.samples import LockState as LockState
from bench.results.samples import Measurement as Measurement
from bench.results.samples import Results as Results
from bench.results.samples import Sample as Sample
from bench.results.schema import LARGEST, check_fields, check_header, check_keys
from bench.results.timelines import GraphTasks, Span, Timeline

SCHEMA = 3
BYTE_ORDER_MARK = "\ufeff"  # some editors put it in front
READABLE = (2, SCHEMA)
FILE_NAME = "results.jsonl"


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
    for name in (FILE_NAME, "report.md", "report.html"):
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
    GraphTasks: "graph",
    Timeline: "timeline",
    LockState: "lock",
}
_CLASSES: dict[str, type] = {kind: sample for sample, kind in KINDS.items()}
_OLD_KINDS = {"window": "interference"}  # of schema 2
_HINTS = {kind: get_type_hints(sample) for kind, sample in _CLASSES.items()}
_ADDED: dict[str, dict[str, Any]] = {  # older files lack them
    kind: {field.name: field.default for field in fields(sample) if field.default is not MISSING}
    for kind, sample in _CLASSES.items()
}
_STOPPING = {"blocks": int, "budget": str | None, "precision": float | None}
_POSITIVE = ("workers", "wall_s", "one_s", "all_s")
_SIGNED = ("foreign_s",)  # may be a little below 0


def read_results(path: str | os.PathLike[str]) -> Results:
    """Reads a results file, or the one in a folder.

    A last line without its end, which an interrupted run may leave, is dropped with a warning.

    Raises:
        BenchError: no such file, or a malformed line (with its number).
    """
    path = Path(path)
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
            if sample.shape not in header["shapes"] or sample.kernel not in header["kernels"]:
                raise BenchError(f"{path}, line {number}: the header does not know {sample.case}")
            if sample.python and sample.python not in header.get("pythons", {}):
                raise BenchError(
                    f"{path}, line {number}: the header does not know Python {sample.python}"
                )
            if (key := (sample.case, sample.block)) in measured:
                raise BenchError(f"{path}, line {number}: repeats block {sample.block} of {key[0]}")
            measured.add(key)
        if kind == "timeline" and not _fits(sample, samples["graph"]):
            raise BenchError(f"{path}, line {number}: there is no graph for the timeline")
    return Results(
        header,
        measurements=tuple(samples["run"]),
        ceilings=tuple(samples["ceiling"]),
        interference=tuple(samples["interference"]),
        graphs=tuple({tasks.shape: tasks for tasks in samples["graph"]}.values()),
        timelines=tuple({line.case: line for line in samples["timeline"]}.values()),
        locks=tuple({state.python: state for state in samples["lock"]}.values()),
        end=end,
        warnings=warnings,
        sound_bytes=len(text.encode()) - len(rest.encode()),
    )


def _fits(timeline: Timeline, graphs: Sequence[GraphTasks]) -> bool:
    """Whether the tasks of a timeline are known."""
    count = next((len(tasks.names) for tasks in graphs if tasks.shape == timeline.shape), 0)
    return all(span.task < count for span in timeline.spans)


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
    ends = {name: options[name] for name in _STOPPING if name in options}
    return {
        **header,
        "planned": blocks * cases,
        "config": {
            **config,
            "command": options.get("command", config["command"]),
            "blocks": blocks,
            "options": {**config["options"], **ends},
        },
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
            known = {**_STOPPING, "command": str}
            hints = {name: known[name] for name in content if name in known}
            check_fields(content, hints, "the extension")
            if not 1 <= content.get("blocks", 1) < LARGEST:
                raise ValueError(f"blocks is out of range: {content['blocks']}")
            return kind, content
        if kind not in _CLASSES:
            raise ValueError(
                f"must be one of {', '.join(_CLASSES)}, extended and end, not {kind[:40]!r}"
            )
        check_keys(content, {}, f"the {kind}")
        content = {**_ADDED.get(kind, {}), **content}
        check_fields(content, _HINTS[kind], f"the {kind}")
        for name in _HINTS[kind]:
            _check_range(name, content[name])
        values = {name: content[name] for name in _HINTS[kind]}
        if "busy" in values:
            values["busy"] = [(float(at_s), float(cores)) for at_s, cores in values["busy"]]
        if "spans" in values:
            values["spans"] = [Span(*span) for span in values["spans"]]
        sample = _CLASSES[kind](**values)
        if isinstance(sample, (GraphTasks, Timeline)):
            sample.check()
        return kind, sample
    except (TypeError, ValueError, OverflowError) as error:
        raise BenchError(f"{path}, line {number}: {error}") from None


def _check_range(name: str, value: Any) -> None:
    if isinstance(value, (int, float)):
        least = -LARGEST if name in _SIGNED else 0
        if not least <= value < LARGEST:
            raise ValueError(f"{name} is out of range: {str(value)[:40]}")
        if name in _POSITIVE and value <= 0:
            raise ValueError(f"{name} must be above 0")
