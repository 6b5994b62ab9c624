"""Measure which backend runs a DAG fastest, and with how many workers."""

from executors.errors import ExecutorError


class BenchError(ExecutorError):
    """Something that was asked for is not possible; the message says what to do instead."""
