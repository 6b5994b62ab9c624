"""The Pythons of a run, for its pages."""

from __future__ import annotations

from bench.results.store import Results

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
