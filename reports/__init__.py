"""Figures and pages, drawn from results alone; nothing here runs a task."""

from reports.drawing import drawing  # first: it imports matplotlib in a way that always works
from reports.pages import write_report

__all__ = ["drawing", "write_report"]
