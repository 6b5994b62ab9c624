"""Figures and pages, drawn from results alone; nothing here runs a task."""

from reports.pages import write_report

__all__ = ["write_report"]
