"""`bench run`: plan, measure, report."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from bench import BenchError
from bench.commands.report import is_terminal, report
from bench.machine.facts import describe_machine
from bench.measure.harness import measure
from bench.measure.plan import Options, Plan, check_same, plan
from bench.measure.prepared import Bench, prepare
from bench.results.store import FILE_NAME, Results, ResultsWriter, check_folder
from bench.workloads.duration import shown
from executors import BackendError, RunFailed, usable_cpus
from executors.logs import log_to_file

FAILED = 1
NOT_CLEAN = 4
INTERRUPTED = 130
TERMINATED = 143
RESULTS_HOME = Path("bench-results")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run shows itself, and where it goes; nothing here changes what is measured."""

    output: Path | None
    resume: Path | None
    dry_run: bool
    strict: bool
    log_file: Path | None
    log_level: str
    quiet: bool


def run(options: Options, given: Mapping[str, Any], settings: Settings) -> int:
    """Measures and reports; the exit code.

    Args:
        given: those of the options that were named, which a resumed run must have had as well.
    """
    if settings.dry_run and settings.resume is not None:
        raise BenchError("--dry-run shows a new run: leave out --resume")
    if settings.dry_run:
        return _show_plan(prepare(plan(options, usable_cpus())))
    if settings.resume is not None:
        if settings.output is not None:
            raise BenchError("--resume goes on in its own folder: leave out -o")
        folder = settings.resume
        _check_log(folder, settings)
        status = _resume(folder, given, settings)
    else:
        folder = settings.output or _new_folder()
        planned = plan(options, usable_cpus())
        _check_log(folder, settings)
        check_folder(folder)
        status = _measure(planned, folder, None, settings)
    if status in (INTERRUPTED, TERMINATED):
        click.echo("Stopped; drawing the report of what was measured.", err=True)
    try:
        verdict = report(folder, None, settings.quiet)
    except KeyboardInterrupt:
        click.echo(f"Interrupted; to draw the report: bench report {folder}", err=True)
        return INTERRUPTED
    if status:
        click.echo(f"To go on with it: bench run --resume {folder}", err=True)
    elif settings.strict and not verdict.is_clean:
        return NOT_CLEAN
    return status


def _check_log(folder: Path, settings: Settings) -> None:
    log = settings.log_file
    if log is not None and log.resolve() == (folder / FILE_NAME).resolve():
        raise BenchError(f"{log} is for the results; name another --log-file")


def _resume(folder: Path, given: Mapping[str, Any], settings: Settings) -> int:
    writer, before = ResultsWriter.resume(folder)
    with writer:
        options = Options.of(before.header["config"]["options"])
        check_same(options, given)
        _same_machine(before)
        for warning in before.warnings:
            click.echo(f"Warning: {warning}", err=True)
        if before.is_complete:
            click.echo("Nothing is missing; drawing the report.", err=True)
            return 0
        planned = plan(options, int(before.header["cpus"]))
        return _measure(planned, folder, (writer, before), settings)


def _same_machine(before: Results) -> None:
    """Refuses to go on where another machine has begun."""
    now = describe_machine()
    for name in ("system", "architecture", "cpu", "cpus", "memory_bytes"):
        then = before.header["machine"][name]
        if now[name] != then:
            raise BenchError(
                f"the run was begun on another machine, or with other limits ({name}: {then}, here"
                f" {now[name]}); start another run"
            )


def _measure(
    planned: Plan,
    folder: Path,
    resumed: tuple[ResultsWriter, Results] | None,
    settings: Settings,
) -> int:
    """Measures what is planned; the exit code, which tells whether that is complete."""
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _terminate))
        logs = []
        if settings.log_file is not None:
            level = logging.getLevelNamesMapping()[settings.log_level.upper()]
            logs.append(stack.enter_context(log_to_file(settings.log_file, level)))
        before = resumed[1] if resumed else None
        bench = prepare(planned, before)
        if resumed:
            writer = resumed[0]
        else:
            writer = stack.enter_context(ResultsWriter.create(folder, bench.header))
        expected_ms = {case: round(1000 * bench.expected_s(case)) for case in planned.cases}
        bar = stack.enter_context(
            click.progressbar(
                length=bench.blocks * sum(expected_ms.values()),
                label=f"{len(planned.cases)} cases x {bench.blocks}",
                file=sys.stderr,
                hidden=settings.quiet or not is_terminal(sys.stderr),
                width=20,
            )
        )
        try:
            measure(bench, writer, logs, lambda case: bar.update(expected_ms[case]), before)
        except (BenchError, BackendError, RunFailed, OSError) as error:
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


def _show_plan(bench: Bench) -> int:
    planned = bench.plan
    for (backend, workers), cases in planned.block(0):
        click.echo(f"{backend}, {workers} worker{'s' * (workers > 1)}")
        for case in cases:
            expected_ms = 1e3 * bench.expected_s(case)
            click.echo(f"  {case.shape}, {case.kernel}: about {expected_ms:.0f} ms, start included")
    for kernel, counts in planned.ceilings:
        numbers = ", ".join(map(str, counts))
        click.echo(f"ceiling of {kernel.text}: {numbers} independent processes")
    most = "" if planned.options.precision is None else " at most"
    total = f"{len(planned.cases)} cases, {bench.blocks} block{'s' * (bench.blocks > 1)}{most}"
    click.echo(f"{total}: about {shown(bench.blocks * bench.block_s)}. Nothing was measured.")
    if planned.budget_s is not None and bench.block_s > planned.budget_s:
        click.echo(
            f"Warning: one block alone takes about {shown(bench.block_s)}, longer than the budget.",
            err=True,
        )
    return 0
