"""The commands that read results: `report`, `export`, `trace`, `compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bench.cli import completion, shared
from bench.cli.group import output_format
from bench.cli.share import share


@click.command(short_help="Draw the report of a run again.")
@click.argument("results", type=click.Path(path_type=Path))
@shared.output("folder for the figures and the page; default: next to the results")
@output_format("text", "json")
@click.option("-q", "--quiet", is_flag=True, help="print only the folder")
def report(results: Path, output: Path | None, form: str, quiet: bool) -> None:
    """Draw the report of a run again from its results.

    RESULTS is a results.jsonl file, or a folder that contains one. The same file always gives the
    same output, byte for byte.
    """
    from bench.commands.report import report as report_

    report_(results, output, form, quiet)


@click.command(short_help="Write the samples of a run as CSV or JSON.")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    default="csv",
    show_default=True,
    metavar="NAME",
    shell_complete=completion.exporters,
    help="csv, json, tasks (CSV), or the name of an exporter of another package; see: bench list",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="PATH",
    help="a new file, or a folder for CSV files of the measurements and of the tasks; default:"
    " standard output",
)
def export(results: Path, form: str, output: str | None) -> None:
    """Write the samples of a run as CSV or JSON, for pandas, a spreadsheet or jq.

    RESULTS is a results.jsonl file, or a folder that contains one.

    \b
    Example: bench export bench-results/2026-05-04-101112 -o tables/
    """
    from bench.commands.export import export as export_

    export_(results, form, output)


@click.command(short_help="Write the timelines of a run as a trace for Perfetto.")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--case",
    metavar="WORDS",
    help="only cases with all of these words, e.g. 'fan-in threads 4'; default: every case",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="a new file; default: standard output",
)
def trace(results: Path, case: str | None, output: Path | None) -> None:
    """Write the timelines of a run in the Chrome trace format.

    For each case, a run that is close to the median, with a row per worker, arrows along the
    needs, and counters of running and ready tasks and of busy cores. Open the file in
    ui.perfetto.dev, which reads it in the browser, or in speedscope.

    RESULTS is a results.jsonl file, or a folder that contains one.

    \b
    Example: bench trace bench-results/2026-05-04-101112 --case 'threads 4' -o trace.json
    """
    from bench.commands.trace import trace as trace_

    trace_(results, case, output)


@click.command(short_help="Compare two runs case by case.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--threshold",
    type=share,
    default="5%",
    show_default=True,
    metavar="SHARE",
    help="smallest relative change that counts",
)
@click.option(
    "--against",
    type=click.Choice(["baseline", "clock"]),
    help="compare times divided by the sequential time of the same run (baseline), or times per"
    " unit of work (clock); default: baseline, but clock for your own graphs",
)
@click.option(
    "--fail-on",
    metavar="REASONS",
    shell_complete=completion.reasons,
    help="exit with a code other than 0 on regression, inconclusive, unusable (comma-separated), or"
    " never; default: a regression, or nothing could be decided",
)
@click.option("--force", is_flag=True, help="compare even if the machines or configurations differ")
@output_format("text", "json", "markdown")
@shared.output("also write a page, JSON and a forest plot into this folder")
@click.option("-q", "--quiet", is_flag=True, help="print one sentence only")
def compare(**values: Any) -> None:
    """Compare two runs case by case: faster, slower, the same, or inconclusive.

    OLD and NEW are results.jsonl files, or folders that contain one. The exit code is 3 if a case
    got slower, and 4 if nothing can be said; see --fail-on.
    """
    from bench.commands.compare import compare as compare_

    sys.exit(compare_(**values))
