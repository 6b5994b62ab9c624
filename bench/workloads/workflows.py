"""Real workflows: recorded runs in WfFormat 1.4 and 1.5, as shapes whose tasks differ in length.

WfFormat is the JSON schema of WfCommons (Coleman et al. 2022, "WfCommons: a framework for enabling
scientific workflow research and development"). These fields are read: the tasks, their needs and
their run times::

    1.4    workflow.tasks[]                  name, id, parents (names), runtimeInSeconds
    1.5    workflow.specification.tasks[]    id, parents (ids)
           workflow.execution.tasks[]        id, runtimeInSeconds

A parent is first looked up among the ids, then among the names; a name that several tasks share
means all of them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench import BenchError
from bench.workloads.shapes import MAX_EDGES, MAX_TASKS, SizedShape
from executors import Graph, GraphError, Task

VERSIONS = ("1.4", "1.5")
WORK_S = 1.0  # total of a workflow without a given scale
LONGEST_S = 1e9  # of a recorded task
LONGEST_SCALED_S = 3600.0  # of a task that is run
LEAST_S = 1e-9  # shorter tasks count as 0


@dataclass(frozen=True, slots=True)
class Workflow:
    """A recorded run.

    Attributes:
        name: its own, in letters, digits, dots and dashes.
        file: that of the file, likewise; its name if another one has the same own name.
        needs: names of the needs by task name.
        recorded_s: seconds by task name; a task without a recorded time has the median of the
            others.
        missing: number of tasks without a recorded time.
    """

    name: str
    needs: dict[str, tuple[str, ...]]
    recorded_s: dict[str, float]
    missing: int
    file: str = ""

    def sized(self, scale: float | None) -> SizedShape:
        """The shape with the recorded times scaled; None scales them to 1 s in total.

        Raises:
            BenchError: a task would be longer than an hour.
        """
        if scale is None:
            total_s = math.fsum(self.recorded_s.values())
            scale = WORK_S / total_s if total_s > LEAST_S else 1.0
        lengths_s = {task: scale * recorded_s for task, recorded_s in self.recorded_s.items()}
        lengths_s = {task: length_s * (length_s >= LEAST_S) for task, length_s in lengths_s.items()}
        longest = max(lengths_s, key=lambda task: lengths_s[task])
        if lengths_s[longest] > LONGEST_SCALED_S:
            raise BenchError(
                f"workflow {self.name}: task {longest!r} would take {lengths_s[longest]:.3g} s;"
                f" give a --scale that makes it at most {LONGEST_SCALED_S:g} s"
            )
        return SizedShape(self.name, self.needs, lengths_s)


def read_workflows(paths: Iterable[Path], known: Collection[str] = ()) -> list[Workflow]:
    """The workflows of files, and of the JSON files in folders.

    Args:
        known: names in the results of a run to continue; earlier versions took those of the files.

    Raises:
        BenchError: a file is missing or malformed (says where), or two have the same name.
    """
    files: list[Path] = []
    for path in paths:
        in_path = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not in_path:
            raise BenchError(f"{path} has no .json files; name a workflow in WfFormat")
        seen = {os.path.realpath(file) for file in files}
        files += [file for file in in_path if os.path.realpath(file) not in seen]
    workflows = [read_workflow(file) for file in files]
    own = Counter(workflow.name for workflow in workflows)
    workflows = [
        replace(workflow, name=workflow.file)
        if own[workflow.name] > 1 or (workflow.name not in known and workflow.file in known)
        else workflow
        for workflow in workflows
    ]
    names = [workflow.name for workflow in workflows]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(f"two workflows are called {name}; rename one of the files")
    return workflows


def read_workflow(path: Path) -> Workflow:
    """The workflow of a file.

    Raises:
        BenchError: it cannot be read, or is not in WfFormat 1.4 or 1.5 (says where).
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BenchError(f"no such file or folder: {path}") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON: {error}") from None
    try:
        return _workflow(path, content)
    except _Malformed as error:
        raise BenchError(f"{path}: {error}") from None


class _Malformed(Exception):
    """What is wrong, and where in the file."""


def _workflow(path: Path, content: Any) -> Workflow:
    version = _get(content, "schemaVersion", str, "the file")
    if version not in VERSIONS:
        raise _Malformed(f"schemaVersion is {version!r}; known versions: {' and '.join(VERSIONS)}")
    workflow = _get(content, "workflow", dict, "the file")
    read = _version_1_4 if version == "1.4" else _version_1_5
    tasks, names, times_s, place = read(workflow)
    unique = _unique(names)
    needs = {
        name: tuple(unique[index] for index in indices)
        for name, indices in zip(unique, _needs(tasks, names, place), strict=True)
    }
    try:
        Graph(Task(name, print, needed) for name, needed in needs.items())
    except GraphError as error:
        raise _Malformed(f"{place}: {error}") from None
    known_s = [time_s for time_s in times_s if time_s is not None]
    usual_s = median(known_s) if known_s else 0.0
    recorded_s = [usual_s if time_s is None else time_s for time_s in times_s]
    return Workflow(
        name=_plain(content.get("name")) or _plain(path.stem) or "workflow",
        needs=needs,
        recorded_s=dict(zip(unique, recorded_s, strict=True)),
        missing=times_s.count(None),
        file=_plain(path.stem) or "workflow",
    )


def _plain(name: object) -> str:
    """A name in letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-") if isinstance(name, str) else ""


# The tasks of a file, their names, their seconds, and where they stand in it.
_Content = tuple[Sequence[dict[str, Any]], list[str], list[float | None], str]


def _version_1_4(workflow: dict[str, Any]) -> _Content:
    place = "workflow.tasks"
    tasks = _tasks(_get(workflow, "tasks", list, "workflow"), place)
    names = _names(tasks, "name")
    times_s = [_runtime_s(task, f"{place}[{index}]") for index, task in enumerate(tasks)]
    return tasks, names, times_s, place


def _version_1_5(workflow: dict[str, Any]) -> _Content:
    place = "workflow.specification.tasks"
    specification = _get(workflow, "specification", dict, "workflow")
    tasks = _tasks(_get(specification, "tasks", list, "workflow.specification"), place)
    names = _names(tasks, "id")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _Malformed(f"{place}: two tasks have the id {twice!r}")
    recorded_s = _recorded(workflow)
    return tasks, names, [recorded_s.get(name) for name in names], place


KINDS: dict[type[Any], str] = {str: "text", dict: "an object", list: "a list"}


def _get(value: Any, key: str, kind: type[Any], place: str) -> Any:
    if not isinstance(value, dict):
        raise _Malformed(f"{place} is not an object")
    if not isinstance(value.get(key), kind):
        raise _Malformed(f"{place} has no {key!r} that is {KINDS[kind]}")
    return value[key]


def _tasks(tasks: Sequence[Any], place: str) -> Sequence[dict[str, Any]]:
    if not tasks:
        raise _Malformed(f"{place} is empty: there are no tasks")
    if len(tasks) > MAX_TASKS:
        raise _Malformed(f"{place} has more than {MAX_TASKS:,} tasks")
    for index, task in enumerate(tasks):
        if not isinstance(task, dict):
            raise _Malformed(f"{place}[{index}] is not an object")
    return tasks


def _names(tasks: Sequence[dict[str, Any]], key: str) -> list[str]:
    """The ids of the tasks or, if the format refers to tasks by name, their names."""
    names = []
    for index, task in enumerate(tasks):
        name = task.get(key)
        if not isinstance(name, str) or not name:
            raise _Malformed(f"task {index} has no {key!r}")
        names.append(name)
    return names


def _unique(names: Sequence[str]) -> list[str]:
    """The names, with a number added to those that occurred before."""
    taken = set(names)
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        candidate = name
        while seen[name] > 1 and candidate in taken:
            candidate = f"{name}#{seen[name]}"
            seen[name] += candidate in taken
        taken.add(candidate)
        unique.append(candidate)
    return unique


def _needs(
    tasks: Sequence[dict[str, Any]], names: Sequence[str], place: str
) -> list[tuple[int, ...]]:
    """For each task, the indices of its parents."""
    by_id: dict[str, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    for index, (task, name) in enumerate(zip(tasks, names, strict=True)):
        by_name.setdefault(name, []).append(index)
        if isinstance(task.get("id"), str):
            by_id.setdefault(task["id"], []).append(index)
    needs = []
    edges = 0
    for index, task in enumerate(tasks):
        parents = task.get("parents", [])
        if not isinstance(parents, list):
            raise _Malformed(f"{place}[{index}] ({names[index]}): parents is not a list")
        indices: dict[int, None] = {}
        for parent in parents:
            if not isinstance(parent, str) or not (
                meant := by_id.get(parent) or by_name.get(parent)
            ):
                raise _Malformed(
                    f"{place}[{index}] ({names[index]}): its parent {parent!r} is not a task"
                )
            indices.update(dict.fromkeys(meant))
        edges += len(indices)
        if edges > MAX_EDGES:
            raise _Malformed(f"{place} has more than {MAX_EDGES:,} edges")
        needs.append(tuple(indices))
    return needs


def _recorded(workflow: Mapping[str, Any]) -> dict[str, float | None]:
    """Seconds by task id; empty for a specification that was never run."""
    if "execution" not in workflow:
        return {}
    execution = _get(workflow, "execution", dict, "workflow")
    place = "workflow.execution.tasks"
    recorded_s: dict[str, float | None] = {}
    for index, task in enumerate(_get(execution, "tasks", list, "workflow.execution")):
        if not isinstance(task, dict) or not isinstance(task.get("id"), str):
            raise _Malformed(f"{place}[{index}] has no 'id'")
        recorded_s[task["id"]] = _runtime_s(task, f"{place}[{index}]")
    return recorded_s


def _runtime_s(task: Mapping[str, Any], place: str) -> float | None:
    value = task.get("runtimeInSeconds")
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= LONGEST_S:
        shown = str(value)[:40]
        raise _Malformed(f"{place}: runtimeInSeconds must be from 0 to {LONGEST_S:g}, not {shown}")
    return float(value)
