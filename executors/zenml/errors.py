"""What goes wrong with ZenML itself, in the tree of `executors.errors`."""

from __future__ import annotations

from executors.errors import ExecutorError


class UnsupportedZenML(ExecutorError, ImportError):
    """ZenML is missing, or its version is one that `executors.zenml` was not tested with."""


class InstallError(ExecutorError):
    """ZenML cannot fulfil the request; the message says why."""


class NotRecorded(ExecutorError):
    """ZenML's store has no such pipeline, or no run of it that says how long its steps take."""


class TuneError(ExecutorError):
    """ZenML's store cannot be tuned; the message says why."""
