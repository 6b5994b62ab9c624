"""`bench export`: results in the format of another tool."""

from __future__ import annotations

from pathlib import Path

from bench import BenchError
from bench.results.exporters import EXPORTERS
from bench.results.store import Results, read_results
from bench.terminal.output import echo, warn
from executors.core.records import describe
from executors.spelling import instead

IN_FOLDER = {"measurements.csv": "csv", "tasks.csv": "tasks"}


def export(source: Path, form: str, output: str | None) -> None:
    """Writes the results to a file, to a folder, or to standard output.

    Args:
        source: a results file, or the folder that it is in.
        form: the name of an exporter.
        output: a file; or a folder, which is there or ends with a slash, for the files of
            `IN_FOLDER`.
    """
    if form not in EXPORTERS:
        known = instead(form, EXPORTERS, "known formats")
        raise BenchError(f"unknown format {form!r}; {known}")
    path = None if output is None else Path(output)
    files = {path: form}
    if path is not None and (path.is_dir() or str(output).endswith("/")):
        if form != "csv":
            raise BenchError(f"{output} is a folder, which is for --format csv; name a file")
        files = {path / name: exporter for name, exporter in IN_FOLDER.items()}
    for file in files:
        if file is not None and file.exists():
            raise BenchError(f"{file} already exists and is not overwritten; name another file")
    results = read_results(source)
    for text in results.warnings:
        warn(text)
    contents = {file: _content(results, exporter) for file, exporter in files.items()}
    for file, content in contents.items():
        if file is None:
            echo(content, nl=False)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, content.encode())


def _content(results: Results, exporter: str) -> str:
    try:
        content = EXPORTERS[exporter](results)
        content.encode()
    except Exception as error:
        raise BenchError(f"exporter {exporter!r} failed: {describe(error)}") from error
    return content


def write_whole(file: Path, data: bytes) -> None:
    """Writes a whole file, or none."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
