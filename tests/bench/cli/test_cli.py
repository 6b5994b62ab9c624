"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.machine.blas import BLAS_VARIABLES
from bench.machine.noise import Verdict
from bench.results.store import ResultsWriter, read_results
from executors import BackendError, RunFailed, backend_names
from executors.backends import default_backends
from tests.available import POOLS
from tests.bench.results.written import TYPICAL, write

SMALL = ["run", "--shapes", "fan-in:width=2", "--kernel", "noop,sleep:1ms"]
SMALL += ["--max-workers", "1,2", "--blocks", "2"]
CASES = 2 * (1 + 2 * len(POOLS))  # of SMALL


def bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_run_leaves_results_figures_and_a_report(tmp_path: Path) -> None:
    process = start(*SMALL, "--shapes", "fan-in:width=2,diamond", cwd=tmp_path)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert errors.startswith(f"{2 * CASES} cases x 2 blocks: about ")  # the rest: once in 5 seconds
    (folder,) = (tmp_path / "bench-results").iterdir()
    names = {path.name for path in folder.iterdir()}
    # Figures of busy cores depend on how busy the machine made tasks that sleep.
    assert {name for name in names if not name.startswith("cores-busy-")} == {
        "results.jsonl",
        "report.md",
        "report.html",
        *(
            f"speedup-{shape}-{kernel}.{kind}"
            for shape in ("fan-in-width-2", "diamond")
            for kernel in ("noop", "sleep-1ms")
            for kind in ("svg", "png")
        ),
    }
    assert f"Report: {folder.relative_to(tmp_path)}/report.md" in output
    assert "Waiting tasks: " in output
    assert max(map(len, output.split("\n\n")[0].splitlines())) <= 60
    for backend in default_backends():
        assert backend in output
    results = read_results(folder)
    assert results.is_complete
    blas = results.header["machine"]["blas_threads"]
    assert set(blas.values()) == {"1"}


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_blas_threads_are_limited_before_numpy_starts_them(tmp_path: Path) -> None:
    """OpenBLAS starts its threads when numpy is imported."""
    script = """
import os
from bench.cli import main
try:
    main(["run", "--dry-run", "--kernel", "noop"], standalone_mode=False)
except SystemExit:
    pass
import numpy
print(len(os.listdir("/proc/self/task")))
"""
    plain = {name: value for name, value in os.environ.items() if name not in BLAS_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=plain, check=True
    )
    assert done.stdout.splitlines()[-1] == "1"


def test_blas_threads_and_the_log_file_are_as_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    process = start(
        *SMALL, "-q", "-o", "out", "--blas-threads", "3", "--log-file", log, cwd=tmp_path
    )
    output, errors = process.communicate(timeout=100)
    assert (process.returncode, output, errors) == (0, "out\n", "")
    header = read_results(tmp_path / "out").header
    assert set(header["machine"]["blas_threads"].values()) == {"3"}
    planned = header["planned"]
    assert log.read_text().count("run of 3 tasks on") == planned == 2 * CASES
    assert log.read_text().count("run took") == planned


def test_a_folder_with_results_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL)
    before = path.read_bytes()
    result = bench(*SMALL, "-o", tmp_path)
    assert result.exit_code == 2
    assert "already exists" in result.output
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--shapes", "ring"], "unknown shape 'ring'"),
        (["run", "--kernel", "gpu"], "unknown kernel 'gpu'"),
        (["run", "--backends", "parsl"], "unknown backend 'parsl'"),
        (["run", "--max-workers", "0"], "whole numbers of at least 1"),
        (["run", "--max-workers=-2"], "whole numbers of at least 1"),
        (["run", "--max-workers", ""], "--max-workers is empty"),
        (["run", "--blocks", "0"], "Invalid value for '--blocks'"),
        (["run", "--max-workers", "100000000", "--backends", "processes"], "use fewer workers"),
        (["report", "nowhere"], "create one with: bench run"),
        (["walk"], "unknown command 'walk'; commands: run, recommend"),
    ],
)
def test_bad_input_is_one_clear_message(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = bench(*arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.rglob("report.md"))


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    for wrong in (["--max-workers", "100000000"], ["--shapes", "ring"]):
        assert bench(*SMALL, "-o", tmp_path / "out", *wrong).exit_code == 2
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("undrawn")
def test_the_baseline_alone_can_be_measured(tmp_path: Path) -> None:
    result = bench(*SMALL, "--backends", "sequential", "--kernel", "noop", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "nothing to compare" in " ".join(result.output.split())


@pytest.mark.parametrize("name", ["-o", "--log-file"])
def test_a_place_that_cannot_be_written_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = bench(*SMALL, "-o", tmp_path / "out", name, tmp_path / "file" / "below")
    assert result.exit_code == 2
    assert "file" in result.output
    assert (tmp_path / "file").read_text() == "mine"


def test_a_broken_results_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL)
    path.write_text(path.read_text() + "{]\n")
    result = bench("report", path, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "line 87: not JSON" in result.output
    assert not (tmp_path / "out").exists()


def test_a_report_is_drawn_from_the_file_alone_and_always_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "results", TYPICAL)
    for folder in ("first", "second"):
        assert bench("report", path, "-o", tmp_path / folder).exit_code == 0
    first = {file.name: file.read_bytes() for file in (tmp_path / "first").iterdir()}
    second = {file.name: file.read_bytes() for file in (tmp_path / "second").iterdir()}
    assert len(first) == 18
    assert first == second
    assert bench("report", path.parent).exit_code == 0
    assert (path.parent / "report.md").read_bytes() == first["report.md"]


@pytest.mark.usefixtures("undrawn")
def test_a_cut_off_results_file_is_reported_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, end=None)
    path.write_text(path.read_text()[:-30])
    result = bench("report", path)
    assert result.exit_code == 0
    assert "Warning" in result.output
    assert "83 of 84 measurements" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_reports_what_it_has(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    process = start(*SMALL, "--blocks", "1000", "-o", "out", cwd=tmp_path)
    path = tmp_path / "out" / "results.jsonl"
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s:
        if path.exists() and path.read_text().count('{"run"') > 30:
            break
        time.sleep(0.02)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    results = read_results(path)
    assert 30 <= len(results.measurements) < 1000 * CASES
    assert results.warnings == ()
    assert f"{len(results.measurements)} of {1000 * CASES} measurements" in output
    assert "Incomplete: " in (tmp_path / "out" / "report.md").read_text()


def test_ctrl_c_at_the_very_start_is_quiet(tmp_path: Path) -> None:
    for delay_s in (0.1, 0.3, 0.6):
        process = start(*SMALL, "-o", f"out{delay_s}", cwd=tmp_path)
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        # Python itself shows a traceback when it is interrupted while it starts, and may abort
        # then, or when it ends after an interrupted import of code in C.
        if "Fatal Python error" in errors:
            continue
        assert process.returncode in (0, 130, -signal.SIGINT), errors
        if process.returncode != -signal.SIGINT:
            assert "Traceback" not in errors


@pytest.mark.usefixtures("undrawn")
def test_strict_tells_by_the_exit_code_that_the_machine_was_not_quiet(tmp_path: Path) -> None:
    few = [*SMALL, "--kernel", "noop", "--backends", "threads", "--blocks", "1"]
    assert bench(*few, "-o", tmp_path / "lenient").exit_code == 0
    result = bench(*few, "-o", tmp_path / "strict", "--strict")
    assert result.exit_code == 4
    assert "Noisy" in result.output or "Unusable" in result.output
    assert (tmp_path / "strict" / "report.md").exists()


def test_a_dry_run_shows_the_plan_and_leaves_nothing(tmp_path: Path) -> None:
    result = bench(*SMALL, "--dry-run", "-o", tmp_path / "out", "--budget", "10s")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert ["fan-in:width=2,", "sleep:1ms"] in lines
    assert ["threads", "2", "about"] in [line[:3] for line in lines]
    assert "Nothing was measured" in result.output
    assert not (tmp_path / "out").exists()


class Asked:
    """A standard input that looks like a terminal, and what is answered to a question."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
        self.questions: list[str] = []
        self._answer = answer
        monkeypatch.setattr("bench.commands.run.is_terminal", lambda stream: True)
        monkeypatch.setattr("click.confirm", self._confirm)

    def _confirm(self, question: str, **_: object) -> bool:
        self.questions.append(question)
        return self._answer


LONG = ["run", "--shapes", "chain", "--kernel", "sleep:5m", "--backends", "threads"]


def test_a_long_run_says_so_and_asks_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = Asked(monkeypatch, answer=False)
    result = bench(*LONG, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert asked.questions == ["Measure all of it?"]
    words = " ".join(result.output.split())
    assert "5 cases x 7 blocks: about 32 h " in words
    assert "That is long: chain, sleep:300s, " in words
    assert "takes about 55 min" in words
    assert "--budget 10m" in words
    assert "Nothing was measured." in words
    assert not (tmp_path / "out" / "results.jsonl").exists()


@pytest.mark.parametrize("option", ["--yes", "-q"])
def test_nobody_is_asked_where_the_answer_is_known(
    option: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = Asked(monkeypatch, answer=False)
    monkeypatch.setattr("bench.commands.run.measure", lambda *_: "complete")
    monkeypatch.setattr("bench.commands.run.report", lambda *_: Verdict())
    assert bench(*LONG, option, "-o", tmp_path / "out").exit_code == 0
    assert asked.questions == []


def test_a_short_run_says_how_long_it_takes_and_does_not_ask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = Asked(monkeypatch, answer=False)
    monkeypatch.setattr("bench.commands.run.measure", lambda *_: "complete")
    monkeypatch.setattr("bench.commands.run.report", lambda *_: Verdict())
    result = bench(*SMALL, "-o", tmp_path / "out")
    assert result.output.startswith(f"{CASES} cases x 2 blocks: about ")
    assert asked.questions == []


def test_list_shows_shapes_kernels_and_backends() -> None:
    output = bench("list").output
    assert "stencil" in output
    assert ":steps=6:width=8" in output
    assert "native-cpu" in output
    for backend in backend_names():
        assert backend in output


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL)
    command = f"{sys.executable} -m bench"
    script = f"{command} report {path} | head -n 1; {command} list | head -n 1"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "status"), [(["report", "old"], 0), (["list"], 0), (["compare", "old", "new"], 3)]
)
def test_an_output_that_nobody_reads_changes_no_exit_code(
    tmp_path: Path, arguments: list[str], status: int
) -> None:
    write(tmp_path / "old", TYPICAL, noise=0)
    slower = {case: 2 * wall_s for case, wall_s in TYPICAL.items() if case[2] != "sequential"}
    write(tmp_path / "new", {**TYPICAL, **slower}, noise=0)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bench", *arguments]
    try:
        done = subprocess.run(
            command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.usefixtures("undrawn")
def test_numbers_of_the_report_are_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, noise=0)
    output = bench("report", path).output
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert lines[0]["run"]["wall_s"] == 0.18
    assert "  sequential       1     180 ms     1.00\n" in output
    assert "* threads          8    41.0 ms     4.39  4.39 to 4.39" in output


def test_output_needs_no_terminal_and_has_no_colour(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL)
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "60"}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "report", str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        check=True,
        timeout=60,
    )
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_closed_stderr_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", *SMALL, "-q", "-o", "out"]
    line = " ".join(f"'{word}'" for word in command) + " 2>&-"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (0, b"out\n")


def test_shapes_are_listed_without_docstrings() -> None:
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "bench", "list"], capture_output=True, text=True, check=True
    )
    assert "stencil" in done.stdout


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), BackendError("10 workers died at start-up")]
)
def test_what_ends_a_run_in_the_middle_leaves_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    append = ResultsWriter.append
    left = [12]

    def fails_later(self: ResultsWriter, sample: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise error
        append(self, sample)

    monkeypatch.setattr(ResultsWriter, "append", fails_later)
    result = bench(*SMALL, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert (getattr(error, "strerror", None) or str(error)) in result.output
    assert f"To continue it: bench run --resume {tmp_path / 'out'}" in result.output
    assert "Incomplete: " in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_precision_that_was_not_reached_is_said(tmp_path: Path) -> None:
    few = ["run", "--shapes", "fan-in:width=2", "--kernel", "noop", "--backends", "threads"]
    few += ["--max-workers", "2", "--precision", "0.0001", "--blocks", "1"]
    result = bench(*few, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "Not all intervals reached the requested precision" in result.output


def test_a_worker_that_dies_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(_: object) -> int:
        raise RunFailed("1 of 4 tasks failed: 'a'; the first error: WorkerDied")

    monkeypatch.setattr("bench.commands.metg.metg", dies)
    result = bench("metg")
    assert result.exit_code == 1
    assert result.output == "Error: 1 of 4 tasks failed: 'a'; the first error: WorkerDied\n"


def test_an_import_that_fails_because_of_ctrl_c_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As that of matplotlib does, if the signal arrives in its C code."""

    def interrupted(*_: object) -> None:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("bench.commands.doctor.doctor", interrupted)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"
