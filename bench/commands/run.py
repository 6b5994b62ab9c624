"""`bench run`: plan, measure, report."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from bench import BenchError
from bench.commands.exit_codes import FAILED, INTERRUPTED, TERMINATED, UNSURE
from bench.commands.report import report
from bench.commands.terminal import answer_alone, progress
from bench.machine.facts import SAME_MACHINE, describe_machine
from bench.measure.harness import measure
from bench.measure.plan import Plan, RunOptions, check_same, plan
from bench.measure.prepared import PreparedPlan, prepare
from bench.results.store import FILE_NAME, Results, ResultsWriter, check_folder
from bench.workloads.duration import estimated
from executors import BackendError, RunFailed, usable_cpus
from executors.logs import log_to_file

RESULTS_HOME = Path("bench-results")


@dataclass(frozen=True, slots=True)
class RunOutput:
    """Where a run goes and how it is shown; nothing here changes what is measured."""

    output: Path | None
    resume: Path | None
    dry_run: bool
    strict: bool
    log_file: Path | None
    log_level: str
    form: str
    quiet: bool


def run(options: RunOptions, given: Mapping[str, Any], settings: RunOutput) -> int:
    """Measures and reports; returns the exit code.

    Args:
        given: the options on the command line, which a resumed run must have had as well.
    """
    if settings.dry_run and settings.resume is not None:
        raise BenchError("--dry-run is for new runs; leave out --resume")
    if settings.dry_run:
        with answer_alone(settings.form == "json"):
            prepared = prepare(plan(options, usable_cpus()))
        return _show_plan(prepared, settings.form)
    with answer_alone(settings.form == "json"):
        folder, status = _run(options, given, settings)
    if status in (INTERRUPTED, TERMINATED):
        click.echo("Stopped; drawing the report of what was measured.", err=True)
    try:
        verdict = report(folder, None, settings.form, settings.quiet)
    except KeyboardInterrupt:
        click.echo(f"Interrupted; to draw the report: bench report {folder}", err=True)
        return INTERRUPTED
    if status:
        click.echo(f"To continue it: bench run --resume {folder}", err=True)
    elif settings.strict and not verdict.is_clean:
        return UNSURE
    return status


def _run(options: RunOptions, given: Mapping[str, Any], settings: RunOutput) -> tuple[Path, int]:
    """Measures, or continues a run; the folder with the results, and the exit code."""
    if settings.resume is not None:
        if settings.output is not None:
            raise BenchError("--resume continues in its own folder; leave out -o")
        _check_log(settings.resume, settings)
        return settings.resume, _resume(settings.resume, given, settings)
    folder = settings.output or _new_folder()
    planned = plan(options, usable_cpus())
    _check_log(folder, settings)
    check_folder(folder)
    return folder, _measure(planned, folder, None, settings)


def _check_log(folder: Path, settings: RunOutput) -> None:
    log = settings.log_file
    if log is not None and os.path.realpath(log) == os.path.realpath(folder / FILE_NAME):
        raise BenchError(f"{log} is the results file; name another --log-file")


def _resume(folder: Path, given: Mapping[str, Any], settings: RunOutput) -> int:
    writer, before = ResultsWriter.resume(folder)
    with writer:
        options = RunOptions.of(before.header["config"]["options"])
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
    """Refuses to continue a run of another machine."""
    now = describe_machine()
    for name in SAME_MACHINE:
        then = before.header["machine"][name]
        if now[name] != then:
            raise BenchError(
                f"the run was started on another machine, or with other limits ({name}: {then},"
                f" here {now[name]}); start a new run"
            )


def _measure(
    planned: Plan,
    folder: Path,
    resumed: tuple[ResultsWriter, Results] | None,
    settings: RunOutput,
) -> int:
    """Measures the plan; returns the exit code, which is 0 if everything was measured."""
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _terminate))
        logs = []
        if settings.log_file is not None:
            level = logging.getLevelNamesMapping()[settings.log_level.upper()]
            logs.append(stack.enter_context(log_to_file(settings.log_file, level)))
        before = resumed[1] if resumed else None
        prepared = prepare(planned, before)
        if resumed:
            writer = resumed[0]
        else:
            writer = stack.enter_context(ResultsWriter.create(folder, prepared.header))
        expected_ms = {case: round(1000 * prepared.expected_s(case)) for case in planned.cases}
        total_ms = prepared.blocks * sum(expected_ms.values())
        label = f"{len(planned.cases)} cases x {prepared.blocks}"
        bar = stack.enter_context(progress(total_ms, label, settings.quiet))
        try:
            measure(prepared, writer, logs, lambda case: bar.update(expected_ms[case]), before)
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
    """A folder named after the time that does not exist yet."""
    now = time.strftime("%Y-%m-%d-%H%M%S")
    names = [now, *(f"{now}-{number}" for number in range(2, 100))]
    return next(RESULTS_HOME / name for name in names if not (RESULTS_HOME / name).exists())


def _show_plan(prepared: PreparedPlan, form: str) -> int:
    planned = prepared.plan
    if form == "json":
        click.echo(json.dumps(_content(prepared), indent=1))
        return 0
    for (backend, workers), cases in planned.block(0):
        click.echo(f"{backend}, {workers} worker{'s' * (workers > 1)}")
        for case in cases:
            expected_ms = 1e3 * prepared.expected_s(case)
            click.echo(f"  {case.shape}, {case.kernel}: about {expected_ms:.0f} ms with start-up")
    for kernel, counts in planned.ceilings:
        numbers = ", ".join(map(str, counts))
        click.echo(f"ceiling of {kernel.text}: {numbers} independent processes")
    most = "" if planned.options.precision is None else " at most"
    blocks = f"{prepared.blocks} block{'s' * (prepared.blocks > 1)}{most}"
    total = estimated(prepared.blocks * prepared.block_s)
    click.echo(f"{len(planned.cases)} cases, {blocks}: about {total}. Nothing was measured.")
    if planned.budget_s is not None and prepared.block_s > planned.budget_s:
        click.echo(
            f"Warning: a block takes about {estimated(prepared.block_s)}, longer than the budget.",
            err=True,
        )
    return 0


def _content(prepared: PreparedPlan) -> dict[str, Any]:
    """The plan, its cases in the order of the first block."""
    planned = prepared.plan
    return {
        "cases": [
            {**asdict(case), "expected_s": prepared.expected_s(case)}
            for _, cases in planned.block(0)
            for case in cases
        ],
        "ceilings": {kernel.text: counts for kernel, counts in planned.ceilings},
        "blocks": prepared.blocks,
        "block_s": prepared.block_s,
        "budget_s": planned.budget_s,
        "precision": planned.options.precision,
    }
