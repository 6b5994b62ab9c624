"""The machine and the Pythons of a run, for its pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bench.analysis.pythons import remarks
from bench.results.store import Results
from reports.markdown import table

PYTHON_TITLES = ["Python", "version", "lock", "compiler", "optimisation", "executable"]


def python_cells(results: Results) -> list[list[str]]:
    """A row for each Python that is compared; none if there is only one."""
    locks = {state.python: state.gil for state in results.locks}
    return [
        [
            label,
            facts["version"],
            locks.get(label, facts["gil"]),
            facts["compiler"],
            facts["optimisation"],
            facts["executable"],
        ]
        for label, facts in results.header.get("pythons", {}).items()
    ]


def machine_section(results: Results) -> str:
    return "## Machine\n\n" + table(["what", "value"], facts_of(results))


def python_section(results: Results) -> Iterator[str]:
    """The Pythons that are compared, and what to know of them."""
    if rows := python_cells(results):
        yield "## Pythons\n\n" + table(PYTHON_TITLES, rows)
    yield from remarks(results)


def facts_of(results: Results) -> list[list[str]]:
    """The machine and what is installed on it: names and values."""
    machine, versions = results.header["machine"], results.header["versions"]
    limits = ", ".join(
        f"{key} {value}" for key, value in machine["cpus"].items() if value is not None
    )
    blas = {value for value in machine["blas_threads"].values() if value is not None}
    created = datetime.fromtimestamp(results.header["created_s"], UTC)
    kernels = ", ".join(
        f"{name}: {kernel['units']:g}"
        for name, kernel in results.header["kernels"].items()
        if kernel["units"]
    )
    return [
        ["measured", f"{created:%Y-%m-%d %H:%M} UTC"],
        ["system", f"{machine['system']}, {machine['architecture']}"],
        ["CPU", str(machine["cpu"])],
        ["CPUs", limits],
        ["memory", f"{machine['memory_bytes'] / 1e9:.1f} GB"],
        ["load before", _load(machine)],
        ["BLAS threads per worker", ", ".join(sorted(blas)) or "not limited"],
        *([["kernels, units of work per task", kernels]] if kernels else []),
        *([name, str(value)] for name, value in versions.items()),
    ]


def _load(machine: dict[str, Any]) -> str:
    others = machine["others_running"]
    running = "" if others is None else f", {others:.1f} other processes running"
    return f"{machine['load_1min']:g} over a minute{running}"
