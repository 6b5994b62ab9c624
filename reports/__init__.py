"""Figures and pages, drawn from results alone; nothing here runs a task."""

from typing import Any

from bench import neighbours
from reports.drawing import drawing  # first: it imports matplotlib in a way that always works
from reports.pages import write_report

__all__ = ["drawing", "write_report"]


def __getattr__(name: str) -> Any:
    return neighbours.attribute(__name__, name)
