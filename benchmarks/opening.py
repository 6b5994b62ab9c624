"""How large the report's pages are, and how long Chromium takes to open them.

`nox -s browser` runs it after the tests and prints a Markdown table. Opened means loaded, with the
timelines drawn and painted, from the start of the navigation in a browser that runs already.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

from benchmarks.table import Row, at_most, show

OPENINGS = 7
PAINTED = """() => new Promise((resolve) =>
  requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now()))))"""

# What is asked of `bench run`: the page's largest size in kB, and the options.
RUNS = {
    "12 cases": (
        400,
        ["--shapes", "fan-in,diamond,chain", "--backends", "threads", "--max-workers", "1,2,4"],
    ),
    "10,000 tasks": (
        2000,
        ["--shapes", "independent:width=10000", "--kernel", "noop", "--backends", "threads"],
    ),
}


def pages() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        reports = {}
        for name, (most, options) in RUNS.items():
            to = Path(folder, name)
            command = [sys.executable, "-m", "bench", "run", *options, "--blocks", "3"]
            subprocess.run([*command, "-q", "-o", str(to)], check=False, stdout=subprocess.DEVNULL)
            reports[name] = to / "report.html"
            yield at_most(f"{name}: size", reports[name].stat().st_size / 1000, most, " kB")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, path in reports.items():
            yield at_most(f"{name}: opened", _opening_s(browser, path), 1, " s")
        browser.close()


def _opening_s(browser: Browser, path: Path) -> float:
    """The median of several openings, each in a context of its own, after one that warms up."""
    times: list[float] = []
    for _ in range(OPENINGS + 1):
        context = browser.new_context()
        page = context.new_page()
        page.goto(path.as_uri())
        times.append(page.evaluate(PAINTED) / 1000)
        context.close()
    return median(times[1:])


if __name__ == "__main__":
    show([pages])
