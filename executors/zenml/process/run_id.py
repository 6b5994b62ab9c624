"""The id of the run that a context belongs to: an orchestrator has one instance for all runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_run_id: ContextVar[str] = ContextVar("orchestrator_run_id")


@contextmanager
def running(run_id: str) -> Iterator[None]:
    """Makes it the id of this context and its copies."""
    token = _run_id.set(run_id)
    try:
        yield
    finally:
        _run_id.reset(token)


def current_run_id() -> str:
    """The id of the run that the calling context belongs to.

    Raises:
        RuntimeError: called outside a run.
    """
    try:
        return _run_id.get()
    except LookupError:
        raise RuntimeError("No run id set: no pipeline is running here.") from None
