"""Real workflows: recorded runs in WfFormat 1.4 and 1.5, as shapes whose tasks differ in length.

WfFormat is the JSON schema of WfCommons (Coleman et al. 2022, "WfCommons: a framework for enabling
scientific workflow research and development"). Read are the tasks, whom they need and how long they
ran::

    1.4    workflow.tasks[]                  name, id, parents (names), runtimeInSeconds
    1.5    workflow.specification.tasks[]    id, parents (ids)
           workflow.execution.tasks[]        id, runtimeInSeconds

A parent is looked for among the ids first, then among the names; a name that several tasks have
means all of them.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import BenchError
from bench.workloads.shapes import MAX_EDGES, MAX_TASKS, SizedShape
from executors import Graph, GraphError, Task

VERSIONS = ("1.4", "1.5")
WORK_S = 1.0  # of a workflow that is scaled by itself
LONGEST_S = 1e9  # a recorded task
LONGEST_SCALED_S = 3600.0  # a task that is run
LEAST_S = 1e-9  # what is shorter takes no time


@dataclass(frozen=True, slots=True)
class Workflow:
    """A recorded run.

    Attributes:
        name: of the file, in letters, digits, dots and dashes.
        needs: by task.
        recorded_s: by task; one without a recorded time has the median of the others.
        missing: how many those are.
    """

    name: str
    needs: dict[str, tuple[str, ...]]
    recorded_s: dict[str, float]
    missing: int

    def sized(self, scale: float | None) -> SizedShape:
        """The shape with the recorded times multiplied; None: so that they add up to a second.

        Raises:
            BenchError: a task would be longer than an hour.
        """
        if scale is None:
            total_s = math.fsum(self.recorded_s.values())
            scale = WORK_S / total_s if total_s > LEAST_S else 1.0
        lengths_s = {task: scale * recorded_s for task, recorded_s in self.recorded_s.items()}
        lengths_s = {task: each_s * (each_s >= LEAST_S) for task, each_s in lengths_s.items()}
        longest = max(lengths_s, key=lambda task: lengths_s[task])
        if lengths_s[longest] > LONGEST_SCALED_S:
            raise BenchError(
                f"workflow {self.name}: task {longest!r} would take {lengths_s[longest]:.3g} s;"
                f" give a smaller --scale, for {LONGEST_SCALED_S:g} s at most"
            )
        return SizedShape(self.name, self.needs, lengths_s)


def read_workflows(paths: Iterable[Path]) -> list[Workflow]:
    """Those of the files, and of the JSON files in the folders.

    Raises:
        BenchError: a file is missing or malformed (says where), or two have the same name.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise BenchError(f"{path} has no .json files; name a workflow in WfFormat")
        known = {file.resolve() for file in files}
        files += [file for file in found if file.resolve() not in known]
    workflows = [read_workflow(file) for file in files]
    names = [workflow.name for workflow in workflows]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(f"two workflows are called {name}; rename one of the files")
    return workflows


def read_workflow(path: Path) -> Workflow:
    """The workflow of a file.

    Raises:
        BenchError: it cannot be read, or is not WfFormat 1.4 or 1.5 (says where).
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"there is no {path}") from None
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
        raise _Malformed(f"schemaVersion is {version!r}; known are {' and '.join(VERSIONS)}")
    workflow = _get(content, "workflow", dict, "the file")
    if version == "1.4":
        place = "workflow.tasks"
        tasks = _tasks(_get(workflow, "tasks", list, "workflow"), place)
        times = [(f"{place}[{at}]", task) for at, task in enumerate(tasks)]
        names = _names(tasks, "name")
        times_s = [_runtime_s(task, where) for where, task in times]
    else:
        place = "workflow.specification.tasks"
        specification = _get(workflow, "specification", dict, "workflow")
        tasks = _tasks(_get(specification, "tasks", list, "workflow.specification"), place)
        names = _names(tasks, "id")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise _Malformed(f"{place}: two tasks have the id {twice!r}")
        recorded = _recorded(workflow)
        times_s = [recorded.get(name) for name in names]
    needs = _needs(tasks, names, place)
    unique = _unique(names)
    known = [time_s for time_s in times_s if time_s is not None]
    usual_s = median(known) if known else 0.0
    made = {
        name: tuple(unique[at] for at in positions)
        for name, positions in zip(unique, needs, strict=True)
    }
    try:
        Graph(Task(name, print, needed) for name, needed in made.items())
    except GraphError as error:
        raise _Malformed(f"{place}: {error}") from None
    return Workflow(
        re.sub(r"[^A-Za-z0-9.]+", "-", path.stem).strip("-") or "workflow",
        made,
        {
            name: usual_s if time_s is None else time_s
            for name, time_s in zip(unique, times_s, strict=True)
        },
        times_s.count(None),
    )


KINDS: dict[type[Any], str] = {str: "text", dict: "an object", list: "a list"}


def _get(value: Any, key: str, kind: type[Any], place: str) -> Any:
    if not isinstance(value, dict):
        raise _Malformed(f"{place} is no object")
    if not isinstance(value.get(key), kind):
        raise _Malformed(f"{place} has no {key!r} that is {KINDS[kind]}")
    return value[key]


def _tasks(tasks: Sequence[Any], place: str) -> Sequence[dict[str, Any]]:
    if not tasks:
        raise _Malformed(f"{place} is empty: there are no tasks")
    if len(tasks) > MAX_TASKS:
        raise _Malformed(f"{place} has more than {MAX_TASKS:,} tasks")
    for at, task in enumerate(tasks):
        if not isinstance(task, dict):
            raise _Malformed(f"{place}[{at}] is no object")
    return tasks


def _names(tasks: Sequence[dict[str, Any]], key: str) -> list[str]:
    """Of each task: its id or, where that is what the format refers to, its name."""
    names = []
    for at, task in enumerate(tasks):
        name = task.get(key)
        if not isinstance(name, str) or not name:
            raise _Malformed(f"task {at} has no {key!r}")
        names.append(name)
    return names


def _unique(names: Sequence[str]) -> list[str]:
    """The same names, with a number behind those that came before."""
    taken = set(names)
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        one = name
        while seen[name] > 1 and one in taken:
            one = f"{name}#{seen[name]}"
            seen[name] += one in taken
        taken.add(one)
        found.append(one)
    return found


def _needs(
    tasks: Sequence[dict[str, Any]], names: Sequence[str], place: str
) -> list[tuple[int, ...]]:
    """Positions of the parents of each task."""
    by_id: dict[str, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    for at, (task, name) in enumerate(zip(tasks, names, strict=True)):
        by_name.setdefault(name, []).append(at)
        if isinstance(task.get("id"), str):
            by_id.setdefault(task["id"], []).append(at)
    found = []
    edges = 0
    for at, task in enumerate(tasks):
        parents = task.get("parents", [])
        if not isinstance(parents, list):
            raise _Malformed(f"{place}[{at}] ({names[at]}): parents is no list")
        positions: dict[int, None] = {}
        for parent in parents:
            if not isinstance(parent, str) or not (
                meant := by_id.get(parent) or by_name.get(parent)
            ):
                raise _Malformed(
                    f"{place}[{at}] ({names[at]}): its parent {parent!r} is none of the tasks"
                )
            positions.update(dict.fromkeys(meant))
        edges += len(positions)
        if edges > MAX_EDGES:
            raise _Malformed(f"{place} has more than {MAX_EDGES:,} edges")
        found.append(tuple(positions))
    return found


def _recorded(workflow: Mapping[str, Any]) -> dict[str, float | None]:
    """Seconds by task id; a specification that was never run has none."""
    if "execution" not in workflow:
        return {}
    execution = _get(workflow, "execution", dict, "workflow")
    place = "workflow.execution.tasks"
    found: dict[str, float | None] = {}
    for at, task in enumerate(_get(execution, "tasks", list, "workflow.execution")):
        if not isinstance(task, dict) or not isinstance(task.get("id"), str):
            raise _Malformed(f"{place}[{at}] has no 'id'")
        found[task["id"]] = _runtime_s(task, f"{place}[{at}]")
    return found


def _runtime_s(task: Mapping[str, Any], place: str) -> float | None:
    value = task.get("runtimeInSeconds")
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= LONGEST_S:
        shown = str(value)[:40]
        raise _Malformed(f"{place}: runtimeInSeconds is {shown}, not from 0 to {LONGEST_S:g}")
    return float(value)
