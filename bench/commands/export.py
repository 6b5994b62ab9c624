"""`bench export`: results in the format of another tool."""

from __future__ import annotations

from pathlib import Path

from bench import BenchError
from bench.results.exporters import EXPORTERS
from bench.results.store import read_results
from bench.terminal.output import echo, warn
from executors.core.records import describe
from executors.spelling import instead


def export(source: Path, form: str, output: Path | None) -> None:
    """Writes the results to a file, or to standard output.

    Args:
        source: a results file, or the folder that it is in.
        form: the name of an exporter.
    """
    if form not in EXPORTERS:
        known = instead(form, EXPORTERS, "known formats")
        raise BenchError(f"unknown format {form!r}; {known}")
    if output is not None and output.exists():
        raise BenchError(f"{output} already exists and is not overwritten; name another file")
    results = read_results(source)
    for text in results.warnings:
        warn(text)
    try:
        content = EXPORTERS[form](results)
        data = content.encode()
    except Exception as error:
        raise BenchError(f"exporter {form!r} failed: {describe(error)}") from error
    if output is None:
        echo(content, nl=False)
        return
    unfinished = output.with_name(f"{output.name}.unfinished")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
