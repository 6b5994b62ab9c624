"""Several Pythons on the same graphs: docs/reports/pythons, and the table of docs/which-python.md.

`nox -s bench_pythons` runs it; the arguments are the Pythons, as `bench run --python` takes them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

from bench.analysis.summary import Group, Row, summarise
from bench.results.store import Results, read_results
from benchmarks.table import put_into
from executors import usable_cpus

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs/which-python.md"
REPORT = PROJECT / "docs/reports/pythons"
EMPTY = PROJECT / "docs/reports/pythons-empty"
KERNELS = "python-cpu,python-loop,python-shared,python-read"
TASKS = 2000  # of the graph whose tasks are empty


def measured(folder: Path, pythons: str, *plan: str) -> Results:
    """Runs the bench on all Pythons with two workers, into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "bench", "run", "--python", pythons, "--max-workers", "2"]
    command += ["--backends", "threads,processes,interpreters", "--yes", "-o", str(folder)]
    subprocess.run([*command, *plan], check=True, cwd=PROJECT)
    return read_results(folder)


def table(tasks: Results, empty: Results) -> str:
    """A row for each Python: one thread of it over one of the first, and what workers gain."""
    groups = {group.kernel.partition(":")[0]: group for group in summarise(tasks).groups}
    (nothing,) = summarise(empty).groups
    titles = ["Python", "one thread: sorting", "loops", "2 threads", "2 processes"]
    titles += ["2 interpreters", "2 threads, shared dict", "shared object", "an empty task"]
    lines = ["| " + " | ".join(titles) + " |", "| ---" + " | ---:" * (len(titles) - 1) + " |"]
    for python in groups["python-cpu"].pythons:
        cpu, loop = (
            _row(groups[name], "sequential", python) for name in ("python-cpu", "python-loop")
        )
        assert cpu is not None and loop is not None
        own = [
            _row(groups["python-cpu"], backend, python)
            for backend in ("threads", "processes", "interpreters")
        ]
        own += [_row(groups[name], "threads", python) for name in ("python-shared", "python-read")]
        cells = [python, f"{cpu.speedup.value:.2f}", f"{loop.speedup.value:.2f}"]
        cells += ["" if row is None else f"{row.own.value:.2f}" for row in own]
        threads = _row(nothing, "threads", python)
        assert threads is not None
        cells.append(f"{1e6 * threads.median_s / nothing.tasks:.1f} us")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _row(group: Group, backend: str, python: str) -> Row | None:
    wanted = backend, python
    rows = (row for row in group.rows if (row.case.backend, row.case.python) == wanted)
    return next(rows, None)


def main() -> None:
    pythons = ",".join(sys.argv[1:])
    tasks = measured(REPORT, pythons, "--shapes", "fan-in:width=16", "--kernel", KERNELS)
    empty = measured(EMPTY, pythons, "--shapes", f"fan-in:width={TASKS}", "--kernel", "noop")
    shutil.rmtree(EMPTY)
    text = f"{table(tasks, empty)}\n({usable_cpus()} CPUs, {date.today()}.)\n"
    print(text)
    put_into(PAGE, "bench_pythons", text)


if __name__ == "__main__":
    main()
