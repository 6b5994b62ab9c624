"""The command `bench` and its options. What a command does is in `bench/commands/`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.cli import completion, results, shared
from bench.cli.group import Commands, output_format
from bench.cli.share import share
from bench.cli.zenml import zenml
from bench.machine.blas import blas_threads_of, limit_blas_threads


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="executor-bench")
def main() -> None:
    """Threads or processes, and how many workers? Measures the same DAG on every backend.

    Options of run can also be set in the environment (BENCH_MAX_WORKERS=1,2) or in the table
    [tool.bench] of pyproject.toml (max-workers = "1,2"). For other commands, prefix the variable
    with the command's name (BENCH_METG_BLOCKS), or use a table of its own ([tool.bench.metg]).
    """


def _named(ctx: click.Context) -> set[str]:
    """The options that the command line itself names."""
    return {
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


@main.command(short_help="Measure a plan and write a report.")
@shared.shapes(
    "DAG shapes, for example fan-in:width=8,stencil; see: bench list; default: fan-in,diamond"
)
@shared.kernel
@shared.payload
@shared.workflow
@shared.graph
@shared.scale
@shared.backends
@click.option(
    "--pipeline",
    metavar="MODULE:PIPELINE",
    help="ZenML pipeline of yours, measured as it is, without caching, on --stacks; by default on"
    " default and those of bench zenml install",
)
@click.option(
    "--pipeline-args",
    metavar="JSON",
    help="arguments of the pipeline, as a JSON object",
)
@click.option(
    "--stacks",
    metavar="NAMES",
    help="ZenML stacks to measure instead of backends, for example threaded,process; default is"
    " always added; see: bench list --stacks",
)
@shared.backend_option
@click.option(
    "--max-workers",
    metavar="NUMBERS",
    help="numbers of workers to measure; default: 1, 2, 4 ... up to the CPU count, and for tasks"
    " that wait also 2 and 4 times that",
)
@click.option(
    "--blocks",
    type=click.IntRange(1),
    help="how many times each case is measured; intervals need at least 5; default: 7, or at most"
    " 50 with --budget or --precision",
)
@shared.python
@shared.site
@shared.seed
@click.option(
    "--budget", metavar="TIME", help="measure as many blocks as fit into this time, e.g. 90s"
)
@click.option(
    "--precision",
    type=share,
    metavar="SHARE",
    help="stop when every speedup is known to within this share of it, e.g. 3%",
)
@click.option(
    "--blas-threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="threads that BLAS libraries may use per worker",
)
@shared.output("folder for the results; default: a new one in bench-results/")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="continue the run in this folder, with its options; more --blocks extend a finished one",
)
@click.option(
    "--dry-run", is_flag=True, help="print the plan and its estimated time; measure nothing"
)
@click.option("--strict", is_flag=True, help="exit with code 4 if the machine was not quiet enough")
@click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="log file for the runs and for records of the tasks; written between runs",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning"]),
    help="minimum severity of the records in the log file",
)
@click.option("-y", "--yes", is_flag=True, help="do not ask before a run of more than 10 minutes")
@output_format("text", "json")
@click.option("-q", "--quiet", is_flag=True, help="show no progress; print only the folder")
@click.pass_context
def run(ctx: click.Context, /, **values: Any) -> None:
    """Measure shapes x kernels, or your own graphs, on each backend and write a report.

    Writes results.jsonl, the speedup and CPU figures (SVG and PNG) and report.md into a folder that
    has no results yet. Ctrl-C stops the run and reports what has been measured so far.

    \b
    Example: bench run --shapes fan-in:width=16,chain --kernel sleep:5ms
    """
    from dataclasses import fields, replace

    resumed = values["resume"]
    if resumed is not None and not resumed.is_file():
        resumed /= "results.jsonl"
    resumed_threads = resumed and blas_threads_of(resumed)
    limit_blas_threads(resumed_threads or values["blas_threads"])  # before numpy is imported

    from bench.commands.run import RunOutput
    from bench.commands.run import run as run_
    from bench.measure.options import RunOptions

    settings = RunOutput(**{field.name: values.pop(field.name) for field in fields(RunOutput)})
    named = _named(ctx)
    if settings.resume is not None and "output" not in named:
        settings = replace(settings, output=None)  # a configured folder is for new runs
    given = {name: value for name, value in values.items() if name in named}
    sys.exit(run_(RunOptions(**values), given, settings))


@main.command(short_help="Pick the backend and max_workers.")
@shared.shapes(
    "DAG shapes, e.g. fan-in:width=8,stencil; default: fan-in:width=16,diamond-chain,chain; with"
    " --python fan-in:width=16"
)
@shared.kernel
@shared.workflow
@shared.graph
@shared.scale
@click.option("--pipeline", metavar="NAME", help="ZenML pipeline; predict from its past runs")
@click.option(
    "--steps",
    default="wait",
    show_default=True,
    type=click.Choice(["wait", "compute", "python"]),
    help="what the steps of --pipeline do: wait, compute (native code without the interpreter"
    " lock), or python (pure Python code)",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="recommend from these results of bench run",
)
@click.option(
    "--engine",
    metavar="NAME",
    help="say when leaving this machine for an engine pays, such as dask",
)
@click.option(
    "--engine-workers",
    metavar="NUMBERS",
    help="numbers of its workers to consider; default: 2, 4, 8 and 16 times this machine's CPUs",
)
@shared.payload
@shared.backends
@shared.backend_option
@click.option(
    "--max-workers", metavar="NUMBERS", help="worker counts to consider; default: all useful ones"
)
@shared.seed
@click.option(
    "--budget",
    metavar="TIME",
    help="go on measuring for up to this time where the runs do not decide yet, e.g. 2m",
)
@click.option(
    "--no-verify",
    is_flag=True,
    help="predict without measuring the candidates",
)
@shared.python
@shared.site
@output_format("text", "json")
@click.option("--json", "as_json", is_flag=True, hidden=True, help="like --format json")
@shared.output("also write a figure and JSON into this folder; with --engine, JSON alone")
@click.option("-q", "--quiet", is_flag=True, help="show no progress")
@click.pass_context
def recommend(ctx: click.Context, /, **values: Any) -> None:
    """Pick the backend and max_workers for a mix of kernels, or for your own graph.

    Measures how long tasks and backends take here, predicts every number of workers by simulating
    the graph, and runs only the candidates. With --python, everything is measured, as bench run
    does. The exit code is 4 if it cannot tell.

    \b
    Example: bench recommend --shapes stencil --kernel native-cpu:5ms
    """
    limit_blas_threads(1)  # before numpy is imported

    from dataclasses import fields

    from bench.commands.recommend import RecommendRequest
    from bench.commands.recommend import recommend as recommend_
    from bench.measure.options import RunOptions

    named = _named(ctx)
    if values.pop("as_json") and ("as_json" in named or "form" not in named):
        values["form"] = "json"
    values["verify"] = not values.pop("no_verify")
    request = RecommendRequest(
        **{field.name: values.pop(field.name) for field in fields(RecommendRequest)}
    )
    sys.exit(recommend_(RunOptions(**values), request, named))


@main.command(short_help="Find the shortest tasks worth running in parallel.")
@click.option(
    "--kernel",
    default="native-cpu",
    show_default=True,
    metavar="NAME",
    shell_complete=completion.busy_kernels,
    help="what a task does; must keep a CPU busy",
)
@shared.backends
@click.option(
    "--max-workers",
    metavar="NUMBERS",
    help="numbers of workers to measure, at least 2; default: the CPU count",
)
@click.option(
    "--blocks",
    default=7,
    show_default=True,
    type=click.IntRange(1),
    help="how many times each length is measured; intervals need at least 5",
)
@shared.seed
@output_format("text", "json")
@shared.output("also write samples (JSON) and the efficiency curve into this folder")
@click.option("-q", "--quiet", is_flag=True, help="show no progress")
def metg(**values: Any) -> None:
    """Find the shortest tasks that are worth running in parallel here.

    METG(75 %) is the shortest task length at which a backend still reaches 75 % of the throughput
    of independent processes on this machine. Takes half a minute on 2 CPUs. The exit code is 4 if
    it cannot tell.
    """
    limit_blas_threads(1)  # before numpy is imported

    from bench.commands.metg import MetgRequest
    from bench.commands.metg import metg as metg_

    sys.exit(metg_(MetgRequest(**values)))


@main.command(short_help="Examine this machine.")
@output_format("text", "json")
def doctor(form: str) -> None:
    """Examine this machine: its speed, its limits, and what may spoil a measurement.

    Takes a few seconds to measure the combined speed of independent processes, the CPU time of
    other programs, and the time to start a process.
    """
    from bench.commands.doctor import doctor as doctor_

    doctor_(form)


@main.command("list", short_help="List shapes, kernels and backends.")
@click.option(
    "--long",
    "is_long",
    is_flag=True,
    help="also show options of backends, and what they do not support",
)
@click.option(
    "--stacks",
    is_flag=True,
    help="list ZenML stacks instead, and why one cannot be measured here; runs nothing",
)
@output_format("text", "json")
def list_(form: str, is_long: bool, stacks: bool) -> None:
    """List shapes, kernels and backends, and why a backend is not available here."""
    from bench.commands import listing

    if stacks:
        listing.stacks(form)
    else:
        listing.listing(form, is_long)


for command in (results.report, results.export, results.trace, results.compare, zenml):
    main.add_command(command)
