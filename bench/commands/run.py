"""`bench run`: plan, measure, report."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from bench import BenchError
from bench.analysis.estimates import MIN_SAMPLES
from bench.commands.report import report
from bench.machine.facts import SAME_MACHINE, describe_machine, differing_builds
from bench.measure.forecast import Forecast
from bench.measure.harness import BUDGET, COMPLETE, measure
from bench.measure.hosts.pythons import opened
from bench.measure.options import STOPPING, RunOptions, continued
from bench.measure.plan import Plan, plan
from bench.measure.prepared import PreparedPlan, prepare
from bench.results.store import FILE_NAME, Results, ResultsWriter, check_folder, read_results
from bench.terminal.dry_run import show_plan
from bench.terminal.exit_codes import FAILED, INTERRUPTED, TERMINATED, UNSURE
from bench.terminal.output import (
    answer_alone,
    complain,
    counted,
    echo,
    explained_os_error,
    is_terminal,
    note,
    warn,
)
from bench.terminal.progress import Progress
from bench.workloads.duration import estimated, shown
from bench.workloads.own_graphs import explained
from executors import BackendError, RunFailed, usable_cpus
from executors.imports.interpreter import current_folder
from executors.logs import log_to_file

RESULTS_HOME = Path("bench-results")
LONG_S = 600.0  # from here on, a run asks first


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
    yes: bool


def run(options: RunOptions, given: Mapping[str, Any], settings: RunOutput) -> int:
    """Measures and reports; returns the exit code.

    Args:
        given: the options on the command line, which a resumed run must have had as well.
    """
    if options.python is not None and settings.log_file is not None:
        raise BenchError("no effect with --python: --log-file; the tasks run in other processes")
    is_own = options.graph or options.pipeline
    if "kernel" in given and is_own and not (options.shapes or options.workflow):
        raise BenchError(
            "--kernel has no effect on your own graphs and pipelines; leave it out, or name"
            " --shapes as well"
        )
    if settings.dry_run and settings.resume is not None:
        raise BenchError("--dry-run is for new runs; leave out --resume")
    if settings.dry_run:
        with answer_alone(settings.form == "json"), opened(options) as pythons:
            planned = plan(options, usable_cpus(), pythons=pythons)
            prepared = prepare(planned, try_graphs=False)
        _tell_of_the_left_out(prepared.plan)
        return show_plan(prepared, settings.form)
    with answer_alone(settings.form == "json"), _terminable():
        folder, status = _run(options, given, settings)
    if folder is None:
        return status
    if status in (INTERRUPTED, TERMINATED):
        echo("Stopped; drawing the report of what was measured.", err=True)
    try:
        verdict = report(folder, None, settings.form, settings.quiet)
    except KeyboardInterrupt:
        echo(f"Interrupted; to draw the report: bench report {folder}", err=True)
        return INTERRUPTED
    except OSError as error:
        complain(explained_os_error(error))
        echo(f"To draw the report: bench report {folder}", err=True)
        return status or FAILED
    if options.pipeline and settings.form == "text" and not settings.quiet:
        _show_predictions(folder, options.pipeline)
    if status:
        echo(f"To continue it: bench run --resume {folder}", err=True)
    elif settings.strict and not verdict.is_clean:
        return UNSURE
    return status


def _show_predictions(folder: Path, pipeline: str) -> None:
    """Prints what `bench recommend --pipeline` predicts from the runs without parallel steps."""
    from bench.recommend.pipelines import predicted_beside

    with answer_alone(True):
        lines = predicted_beside(read_results(folder), pipeline)
    if lines:
        echo("\n".join(lines))


def _run(
    options: RunOptions, given: Mapping[str, Any], settings: RunOutput
) -> tuple[Path | None, int]:
    """Measures, or continues a run; the folder with the results if any, and the exit code."""
    if settings.resume is not None:
        if settings.output is not None:
            raise BenchError("--resume continues in its own folder; leave out -o")
        _check_log(settings.resume, settings)
        return settings.resume, _resume(settings.resume, given, settings)
    folder = settings.output or _new_folder()
    with opened(options) as pythons:
        with _current_folder_kept():
            planned = plan(options, usable_cpus(), pythons=pythons)
        _check_log(folder, settings)
        _tell_of_the_left_out(planned)
        with _created(folder):
            with _current_folder_kept(), Progress(settings.quiet) as progress:
                prepared = prepare(planned, progress=progress)
            _tell_of_trials(prepared)
            if not _is_wanted(prepared, prepared.forecast(), 0, 0.0, settings):
                return None, 0
            writer = ResultsWriter.create(folder, prepared.header)
        with writer:
            return folder, _measure(prepared, writer, None, settings)


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Makes sure of a folder for the results now; removes it if nothing is written into it."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    check_folder(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty
            for place in new:
                place.rmdir()


@contextmanager
def _current_folder_kept() -> Iterator[None]:
    """Returns to the current folder afterwards: modules and tasks of the user may change it."""
    here = current_folder()
    try:
        yield
    finally:
        if here is not None:
            with suppress(OSError):
                os.chdir(here)


def _check_log(folder: Path, settings: RunOutput) -> None:
    log = settings.log_file
    if log is not None and os.path.realpath(log) == os.path.realpath(folder / FILE_NAME):
        raise BenchError(f"{log} is the results file; name another --log-file")


def _resume(folder: Path, given: Mapping[str, Any], settings: RunOutput) -> int:
    writer, before = ResultsWriter.resume(folder)
    with writer, ExitStack() as stack:
        for text in before.warnings:
            warn(text)
        had = RunOptions.of(before.header["config"]["options"])
        options = continued(had, given)
        _same_machine(before)
        names = before.header["config"]["shapes"]
        pythons = stack.enter_context(opened(options))
        pythons.check_same(before.header)
        with _current_folder_kept():
            planned = plan(options, int(before.header["cpus"]), names, pythons)
            prepared = prepare(planned, before)
        measured = {(run.case, run.block) for run in before.measurements}
        missing = planned.runs - len(measured)
        if missing <= 0 or (before.is_complete and options == had):
            blocks = counted(len({run.block for run in before.measurements}), "block")
            note(f"Nothing is missing: {blocks} measured. More --blocks extend the run.")
            if not before.is_complete:  # it was killed just before its last line
                writer.end(COMPLETE)
            return 0
        done = min(
            (
                sum(case == run.case for run in before.measurements)
                for case in prepared.plan.cases
                if planned.blocks_of(case.backend) == planned.blocks
            ),
            default=0,
        )
        spent_s = sum(pool.wall_s for pool in before.interference)
        if planned.budget_s is not None and spent_s >= planned.budget_s:
            note("The budget is already spent; drawing the report.")
            return 0
        if not _is_wanted(prepared, prepared.forecast(before), done, spent_s, settings):
            return 0
        if options != had:
            ends = {name: getattr(options, name) for name in STOPPING}
            writer.extend({**ends, "blocks": planned.blocks, "command": options.command})
        return _measure(prepared, writer, before, settings)


def _tell_of_trials(prepared: PreparedPlan) -> None:
    for (name, python), trial in prepared.trials.items():
        on = f" of Python {python}" if python else ""
        for remark in trial.remarks.values():
            note(f"{name}{on}: {remark}")
        for backend, reason in trial.left_out.items():
            warn(f"{name} does not run on {backend}{on}, which is left out: {reason}")


def _tell_of_the_left_out(planned: Plan) -> None:
    for what, reason in planned.left_out.items():
        warn(f"{what} is left out: {reason}")
    if (text := differing_builds(planned.pythons.header())) is not None:
        note(text)


def _is_wanted(
    prepared: PreparedPlan, forecast: Forecast, done: int, spent_s: float, settings: RunOutput
) -> bool:
    """Says how long the run takes and, if that is long, asks whether to go on.

    Args:
        done: blocks that an interrupted run has finished.
        spent_s: the part of the budget that it has spent.
    """
    if settings.quiet:
        return True
    left_s = forecast.left_s(done, set())
    budget_s = prepared.plan.budget_s
    if budget_s is not None:
        left_s = min(left_s, max(0.0, budget_s - spent_s))
    cases = prepared.plan.cases
    is_open = budget_s is not None or prepared.plan.options.precision is not None
    most = " at most" if is_open else ""
    count = f"{counted(len(cases), 'case')} x {counted(prepared.blocks, 'block')}{most}"
    rest = f", {done} of them done" if done else ""
    note(f"{count}{rest}: about {estimated(left_s)}.")
    if budget_s is not None and prepared.blocks < MIN_SAMPLES:
        note(
            f"Fewer than {MIN_SAMPLES} blocks give no intervals, so they decide nothing; raise"
            " --budget, or measure fewer cases."
        )
    if left_s < LONG_S:
        return True
    longest = max(cases, key=prepared.expected_s)
    note(
        f"That is long: {longest}, takes about {shown(prepared.expected_s(longest))} per block. To"
        " shorten it: --budget 10m, fewer --blocks, --shapes or --max-workers, or a shorter"
        " --kernel. Ctrl-C stops it at any time and reports what was measured."
    )
    if settings.yes or not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return True
    try:
        if click.confirm("Measure all of it?", default=True, err=True):
            return True
    except click.Abort:  # Ctrl-C, or the end of the input
        raise KeyboardInterrupt from None
    note("Nothing was measured.")
    return False


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
    prepared: PreparedPlan, writer: ResultsWriter, before: Results | None, settings: RunOutput
) -> int:
    """Measures the plan; returns the exit code, which is 0 if everything was measured."""
    with ExitStack() as stack:
        stack.enter_context(_current_folder_kept())
        logs = []
        if settings.log_file is not None:
            level = logging.getLevelNamesMapping()[settings.log_level.upper()]
            logs.append(stack.enter_context(log_to_file(settings.log_file, level)))
        progress = stack.enter_context(Progress(settings.quiet))
        try:
            reason = measure(prepared, writer, logs, progress, before)
            progress.erase()
            if reason == BUDGET and not settings.quiet:
                note("The budget is used up; drawing the report of the blocks that fitted into it.")
        except RunFailed as error:
            progress.erase()
            complain(explained(error))
            return FAILED
        except (BenchError, BackendError) as error:
            progress.erase()
            complain(str(error))
            return FAILED
        except OSError as error:
            progress.erase()
            complain(explained_os_error(error))
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
        except SystemExit:
            return TERMINATED
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end a run like Ctrl-C, with its folder tidied or reported."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(TERMINATED)


def _new_folder() -> Path:
    """A folder named after the time that does not exist yet."""
    now = time.strftime("%Y-%m-%d-%H%M%S")
    names = [now, *(f"{now}-{number}" for number in range(2, 100))]
    return next(RESULTS_HOME / name for name in names if not (RESULTS_HOME / name).exists())
