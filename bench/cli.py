"""The command `bench`: parse, call, print. What a command needs is imported when it runs."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.statistics import Group

FAILED = 1
INTERRUPTED = 130
TERMINATED = 143
RESULTS_HOME = Path("bench-results")


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turns what a user can mend into one message and exit code 2, and Ctrl-C into 130."""
    from bench import BenchError
    from executors.errors import BackendError, GraphError, InstallError, UnsupportedZenML

    try:
        yield
    except (BenchError, BackendError, GraphError, InstallError, UnsupportedZenML) as error:
        raise click.UsageError(str(error)) from error
    except BrokenPipeError:
        raise  # click ends quietly when nobody reads what it prints
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise click.UsageError(
            f"cannot use{where}: {error.strerror}; name another place"
        ) from error
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)


class _Commands(click.Group):
    """Commands whose errors are told clearly, wherever they come from."""

    def invoke(self, ctx: click.Context) -> Any:
        with _clear_errors():
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="executor-bench")
def main() -> None:
    """Threads or processes, and how many workers? Measures the same DAG on every backend."""


@main.command()
@click.option(
    "--shapes",
    default="fan-in,diamond",
    show_default=True,
    metavar="SPECS",
    help="DAG shapes, as fan-in:width=8,stencil; see: bench list",
)
@click.option(
    "--kernel",
    "kernels",
    default="sleep,python-cpu,native-cpu",
    show_default=True,
    metavar="SPECS",
    help="what a task does, as sleep:20ms,noop; 20ms if no length is given",
)
@click.option("--backends", metavar="NAMES", help="default: all that are available here")
@click.option(
    "--max-workers",
    metavar="NUMBERS",
    help="default: 1, 2, 4 ... up to the CPU count; 2 and 4 times it for tasks that wait",
)
@click.option(
    "--blocks",
    default=7,
    show_default=True,
    type=click.IntRange(1),
    help="how often each case is measured; an interval needs at least 5",
)
@click.option("--seed", default=0, show_default=True, help="of the random order")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="where results go; default: a new folder under bench-results/",
)
@click.option(
    "--blas-threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="threads that BLAS libraries may use in each worker",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="log of the runs and of what tasks log; written between the runs",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning"]),
)
@click.option("-q", "--quiet", is_flag=True, help="print the folder only, and no progress")
def run(
    shapes: str,
    kernels: str,
    backends: str | None,
    max_workers: str | None,
    blocks: int,
    seed: int,
    output: Path | None,
    blas_threads: int,
    log_file: Path | None,
    log_level: str,
    quiet: bool,
) -> None:
    """Measure shapes x kernels x backends x workers and write a report.

    Writes results.jsonl, the speedup and CPU figures (SVG and PNG) and report.md into a folder
    that has no results yet. Ctrl-C stops it and reports what has been measured so far.

    \b
    Example: bench run --shapes fan-in:width=16,chain --kernel sleep:5ms
    """
    from bench.machine import limit_blas_threads
    from bench.plan import plan
    from executors import usable_cpus

    cpus = usable_cpus()
    planned = plan(shapes, kernels, backends, max_workers, blocks, seed, cpus, blas_threads)
    folder = output or _new_folder()
    limit_blas_threads(blas_threads)
    status = _measure(planned, folder, log_file, log_level, quiet)
    if status in (INTERRUPTED, TERMINATED):
        click.echo("Stopped; drawing the report of what was measured.", err=True)
    try:
        _report(folder, folder, quiet)
    except KeyboardInterrupt:
        click.echo(f"Interrupted; to draw the report: bench report {folder}", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(status)


def _measure(
    planned: Plan, folder: Path, log_file: Path | None, log_level: str, quiet: bool
) -> int:
    """Measures what is planned; the exit code, which tells whether that is complete."""
    from bench import BenchError
    from bench.harness import measure, prepare
    from bench.results import ResultsWriter, check_folder
    from executors import RunFailed
    from executors.logs import log_to_file

    check_folder(folder)
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _terminate))
        logs = []
        if log_file is not None:
            level = logging.getLevelNamesMapping()[log_level.upper()]
            logs.append(stack.enter_context(log_to_file(log_file, level)))
        bench = prepare(planned)
        writer = stack.enter_context(ResultsWriter(folder, bench.header))
        expected_ms = {case: round(1000 * bench.expected_s(case)) for case in planned.cases}
        bar = stack.enter_context(
            click.progressbar(
                length=planned.blocks * sum(expected_ms.values()),
                label=f"{len(planned.cases)} cases, {planned.blocks} times",
                file=sys.stderr,
                hidden=quiet or not sys.stderr.isatty(),
                width=20,
            )
        )
        try:
            measure(bench, writer, logs, lambda case: bar.update(expected_ms[case]))
        except (BenchError, RunFailed) as error:
            click.echo(f"Error: {error}", err=True)
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
        except SystemExit:
            return TERMINATED
    return 0


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(TERMINATED)


def _new_folder() -> Path:
    """One named after the time, that is not there yet."""
    now = time.strftime("%Y-%m-%d-%H%M%S")
    names = [now, *(f"{now}-{number}" for number in range(2, 100))]
    return next(RESULTS_HOME / name for name in names if not (RESULTS_HOME / name).exists())


def _report(source: Path, folder: Path, quiet: bool) -> None:
    """Draws and prints what a results file says; the folder's name is the last line."""
    from bench.results import read_results
    from bench.statistics import caution, finding, summarise
    from reports import write_report

    results = read_results(source)
    for warning in results.warnings:
        click.echo(f"Warning: {warning}", err=True)
    page = write_report(results, folder)
    if quiet:
        click.echo(folder)
        return
    groups = summarise(results)
    for group in groups:
        click.echo("\n".join(_group_lines(group)) + "\n")
    width = min(100, shutil.get_terminal_size().columns)
    click.echo(click.wrap_text(finding(groups, int(results.header["cpus"])), width) + "\n")
    doubt = caution(results)
    if doubt is not None:
        click.echo(click.wrap_text(f"Warning: {doubt}", width), err=True)
    if not results.is_complete:
        made, planned = len(results.measurements), results.header["planned"]
        click.echo(f"Incomplete: {made} of {planned} measurements.\n")
    click.echo(f"Report: {page}")


def _group_lines(group: Group) -> list[str]:
    """One shape and kernel, in less than 60 columns; a star marks the pick."""
    lines = [
        f"{group.shape}, {group.kernel}: at most {group.bound():.2f} times",
        "  backend    workers       time  speedup  95 % interval",
    ]
    for row in group.rows:
        low, high = row.speedup.low, row.speedup.high
        interval = "" if low is None else f"{low:.2f} to {high:.2f}"
        mark = "*" if row is group.pick else " "
        lines.append(
            f"{mark} {row.case.backend:<10} {row.case.workers:>7} {_milliseconds(row.median_s):>10}"
            f" {row.speedup.value:>8.2f}  {interval}".rstrip()
        )
    return lines


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms" if seconds >= 0.01 else f"{1e3 * seconds:.3f} ms"


@main.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="where figures and page go; default: beside the results",
)
@click.option("-q", "--quiet", is_flag=True, help="print the folder only")
def report(results: Path, output: Path | None, quiet: bool) -> None:
    """Draw the report of RESULTS again: a results.jsonl, or a folder with one.

    The same file gives the same bytes.
    """
    folder = output or (results if results.is_dir() else results.parent)
    _report(results, folder, quiet)


@main.command("list")
def list_() -> None:
    """Show shapes, kernels and backends, and why one is not available here."""
    from bench.kernels import KERNELS
    from bench.shapes import SHAPES, sized
    from executors.backends import backend_class, backend_names
    from executors.graph import Graph, Task

    click.echo(f"{'shape':<18}{'tasks':>6}{'edges':>6}{'depth':>6}{'width':>6}{'avg. par.':>10}")
    for name, shape in SHAPES.items():
        graph = Graph(Task(task, print, needs) for task, needs in sized(name).needs.items())
        click.echo(
            f"{name:<18}{len(graph):>6}{graph.edges:>6}{graph.depth:>6}{graph.width:>6}"
            f"{graph.average_parallelism:>10.2f}"
        )
        defaults = "".join(f":{key}={value}" for key, value in shape.defaults.items())
        click.echo(f"  {defaults}  {shape.summary}")
    click.echo("\nkernel      with a length, as sleep:20ms")
    for name, kernel in KERNELS.items():
        click.echo(f"{name:<12}{kernel.summary}")
    click.echo("\nbackend")
    for name in backend_names():
        reason = backend_class(name).unavailable()
        click.echo(f"{name:<12}" + (f"not here: {reason}" if reason else "available"))


@main.group("zenml")
def zenml_() -> None:
    """The thread-pool backend as a ZenML orchestrator: run a pipeline's steps side by side."""


@zenml_.command("install")
@click.option(
    "--max-workers",
    type=click.IntRange(1),
    metavar="NUMBER",
    help="how many steps may run at once; default: the CPU count of the machine that runs them",
)
@click.option(
    "--stack",
    default="threaded",
    show_default=True,
    metavar="NAME",
    help="name of the stack and of its orchestrator",
)
@click.option("--activate", is_flag=True, help="make it the active stack")
def install_(max_workers: int | None, stack: str, activate: bool) -> None:
    """Register flavor, orchestrator and stack; safe to repeat.

    A second time it changes only what is asked for: --max-workers, --activate.
    """
    from executors.zenml.install import install

    for line in install(stack, max_workers, activate=activate):
        click.echo(line)
    if not activate:
        click.echo(f"To use it: zenml stack set {stack}")
