"""The commands of docs/many-machines.md, with all machines on this one."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.results.store import read_results
from executors.backends import backend_class
from tests.pages import ROOT, blocks

if (missing := backend_class("dask").unavailable()) is not None:
    pytest.skip(missing, allow_module_level=True)

PAGE = ROOT / "docs" / "many-machines.md"
THERE = "10.0.0.7:8786"


def commands() -> list[list[str]]:
    lines = [line for block in blocks(PAGE, "console") for line in block.splitlines()]
    return [shlex.split(line.removeprefix("$ ")) for line in lines]


@contextmanager
def running(words: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command of dask, until the end of the context."""
    environment = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "error"}
    extra = ["--no-dashboard"] + ["--local-directory", str(folder)] * (words[1] == "worker")
    command = [sys.executable, "-m", *words, *extra]
    with subprocess.Popen(command, env=environment, cwd=folder) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_a_cluster_is_started_and_measured_as_the_page_says(tmp_path: Path) -> None:
    scheduler, worker, bench = commands()
    assert (scheduler[:2], worker[:2], bench[:2]) == (
        ["dask", "scheduler"],
        ["dask", "worker"],
        ["bench", "run"],
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = f"127.0.0.1:{port}"
    scheduler = [{"10.0.0.7": "127.0.0.1", "8786": str(port)}.get(it, it) for it in scheduler]
    worker = [word.replace(THERE, here) for word in worker]
    bench = [word.replace(THERE, here) for word in bench]
    with running(scheduler, tmp_path), running(worker, tmp_path):
        _wait_for_workers(here)
        words = [*bench[1:], "--kernel", "noop", "--blocks", "1", "-q", "-o", str(tmp_path / "out")]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    measured = read_results(tmp_path / "out")
    assert {run.case.backend for run in measured.measurements} == {"sequential", "threads", "dask"}
    assert measured.header["config"]["options"]["backend_option"] == [f"dask.address=tcp://{here}"]


def _wait_for_workers(address: str) -> None:
    import distributed

    by_s = time.monotonic() + 60
    while True:
        try:
            make: Any = distributed.Client  # which has no types
            with make(f"tcp://{address}", set_as_default=False, timeout=5) as client:
                client.wait_for_workers(2, timeout=50)
            return
        except OSError:
            assert time.monotonic() < by_s
            time.sleep(0.1)


def test_the_page_names_every_address_alike() -> None:
    assert set(re.findall(r"\d+\.\d+\.\d+\.\d+", PAGE.read_text())) == {"10.0.0.7"}
