"""The line of progress: on a real pseudo-terminal, and where there is none."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.terminal import progress
from bench.terminal.progress import Progress, shortened

LINES = """
import sys, time
from bench.terminal.output import emphasised
from bench.terminal.progress import Progress
with Progress(quiet=False) as progress:
    for step in range(3):
        progress(f"etl, threads with 4, run {step + 1} of 3" + "x" * 200)
        time.sleep(0.12)
        progress.erase()
        print(emphasised(f"result {step}", colour="green"), flush=True)
"""


def on_a_terminal(script: str, columns: int = 60, **environment: str) -> str:
    """What appears on a terminal on which a script runs."""
    parent, child = pty.openpty()
    os.set_blocking(parent, False)
    without_size = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    subprocess.run(["stty", "cols", str(columns), "rows", "24"], stdin=child, check=True)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**without_size, "TERM": "xterm", **environment},
    )
    os.close(child)
    shown = b""
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s:
        if select.select([parent], [], [], 0.1)[0]:
            try:
                data = os.read(parent, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data
        elif process.poll() is not None:
            break
    os.close(parent)
    assert process.wait(10) == 0, shown
    return shown.decode()


def test_a_terminal_has_one_line_that_never_mixes_with_results() -> None:
    shown = on_a_terminal(LINES)
    assert "etl, threads with 4, run 1 of 3xxx" in shown
    lines = [re.sub(r".*\r", "", line.rstrip("\r")) for line in shown.split("\n")]
    plain = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in lines]
    assert plain[:3] == ["result 0", "result 1", "result 2"]
    drawn = re.findall(r"\r(etl[^\r\x1b]*)\x1b\[K", shown)
    assert [len(line) for line in drawn] == [59, 59, 59]  # it never wraps
    assert "\x1b[32m" in shown


def test_no_color_and_a_dumb_terminal_are_honoured() -> None:
    assert "\x1b[32m" not in on_a_terminal(LINES, NO_COLOR="1")
    dumb = on_a_terminal(LINES, TERM="dumb")
    assert "\x1b" not in dumb
    assert "etl" not in dumb  # plain lines come every five seconds


def test_without_a_terminal_a_plain_line_comes_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now_s[0])
    with Progress(quiet=False) as shown:
        for step in range(12):
            now_s[0] += 1.0
            shown(f"step {step}")
        shown.erase()
    assert capsys.readouterr().err == "step 4\nstep 9\n"


def test_quiet_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_S", 0.0)
    with Progress(quiet=True) as shown:
        shown("step")
    assert capsys.readouterr().err == ""


def test_errors_wrap_at_words_on_a_terminal_only(tmp_path: Path) -> None:
    script = (
        "from bench.cli import main\nmain(['report', 'nowhere/"
        + "x" * 20
        + "'], standalone_mode=True)"
    )
    shown = on_a_terminal(
        script.replace("main([", "import sys\nsys.argv[0] = 'bench'\ntry:\n    main([")
        + "\nexcept SystemExit:\n    pass",
        40,
    )
    lines = shown.replace("\r", "").strip().split("\n")
    assert len(lines) > 1
    assert all(len(line) <= 40 for line in lines)
    assert " ".join(lines).endswith("create one with: bench run")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "report", "nowhere"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "40"},
    )
    assert done.stderr.count("\n") == 1


def test_a_narrow_terminal_still_shows_the_time_left() -> None:
    step = "fan-in:width=16, sleep:1s, processes with 16, run 3 of 12, about 12 s left"
    assert shortened(step, 100) == step
    assert shortened(step, 40) == "fan-in:..., run 3 of 12, about 12 s left"
    assert len(shortened(step, 40)) <= 40
    assert shortened(step, 10) == step[:10]
