"""Run a DAG of tasks on one backend: sequential, threads or processes.

from executors import Graph, Task, load_backend, run

graph = Graph([Task("load", load), Task("fit", fit, needs=("load",))])
report = run(graph, load_backend("threads", workers=4))
report.values["fit"]
"""

from typing import Any

from executors.backends import backend_names, load_backend
from executors.backends.base import Backend
from executors.core.graph import Graph, Task
from executors.core.policy import (
    CONTINUE_ON_FAILURE,
    FAIL_FAST,
    STOP_ON_FAILURE,
    FailurePolicy,
)
from executors.core.records import Attempt, Call, RunReport, Status, TaskRecord
from executors.core.session import Session
from executors.cpus import usable_cpus
from executors.errors import (
    ActionInterrupted,
    ArgumentError,
    BackendError,
    ExecutorError,
    GraphError,
    MemoryLimitExceeded,
    NotLoadable,
    NotPicklable,
    RemoteError,
    RunFailed,
    TaskError,
    TaskStopped,
    TaskTimeout,
    WorkerDied,
)
from executors.imports import neighbours
from executors.imports.moved import MovedFinder
from executors.observers import Observer, Trace
from executors.runner import run

neighbours.install()
neighbours.claim("executors")
MovedFinder.install()

__all__ = [
    "CONTINUE_ON_FAILURE",
    "FAIL_FAST",
    "STOP_ON_FAILURE",
    "ActionInterrupted",
    "ArgumentError",
    "Attempt",
    "Backend",
    "BackendError",
    "Call",
    "ExecutorError",
    "FailurePolicy",
    "Graph",
    "GraphError",
    "MemoryLimitExceeded",
    "NotLoadable",
    "NotPicklable",
    "Observer",
    "RemoteError",
    "RunFailed",
    "RunReport",
    "Session",
    "Status",
    "Task",
    "TaskError",
    "TaskRecord",
    "TaskStopped",
    "TaskTimeout",
    "Trace",
    "WorkerDied",
    "backend_names",
    "load_backend",
    "run",
    "usable_cpus",
]


def __getattr__(name: str) -> Any:
    return neighbours.attribute(__name__, name)
