"""The report's page, driven in Chromium: hover, zoom, filter, keyboard, dark mode, paper, phone.

Only in `nox -s browser`, which installs Chromium and Playwright; skipped where they are missing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import main

api = pytest.importorskip("playwright.sync_api", reason="nox -s browser has Playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: nox -s browser"),
    pytest.mark.filterwarnings("default"),
]

LEFT, ROW = 96, 18  # pixels, as in timeline.js
TASKS = """
import time
from executors import Graph, Task

tried = []

def split():
    time.sleep(0.01)

def part(_):
    time.sleep(0.02)

def flaky(_):
    tried.append(1)
    time.sleep(0.005)
    if len(tried) % 2:
        raise ValueError("the first attempt fails")

def join(*_):
    time.sleep(0.001)

def make():
    parts = [Task(f"part-{index}", part, needs=("split",)) for index in range(4)]
    parts.append(Task("flaky", flaky, needs=("split",), retries=1))
    return Graph([Task("split", split), *parts, Task("join", join, [one.name for one in parts])])
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "page_tasks.py").write_text(TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        options = ["--graph", "page_tasks:make", "--backends", "threads", "--max-workers", "1,2"]
        result = CliRunner().invoke(main, ["run", *options, "--blocks", "3", "-q", "-o", "out"])
        assert result.exit_code in (0, 4), result.output  # 4: the machine is busy
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1000, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    context.close()
    assert said == [], "nothing is written to the console, whatever is done"
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]


def shown_run(report: Path, title: str) -> tuple[list[str], list[list[int]], int]:
    """Names, spans and end of a run, as the page has them."""
    found = re.search(r'<script type="application/json">(.*?)</script>', report.read_text())
    assert found
    data = json.loads(found[1])
    (run,) = (one for one in data["runs"] if one["title"] == title)
    spans = [run["spans"][at : at + 7] for at in range(0, len(run["spans"]), 7)]
    return data["tasks"]["names"], spans, run["end"]


def middle(page: Any, report: Path, name: str, number: int = 1) -> tuple[float, float]:
    """Where a task is in the first run that is shown."""
    title = page.locator("select").first.locator("option:checked").inner_text()
    names, spans, _ = shown_run(report, title)
    longest = [page.locator("select").nth(1).locator("option:checked").inner_text(), title]
    end = max(shown_run(report, one)[2] for one in longest if one != "nothing")
    (span,) = (one for one in spans if names[one[0]] == name and one[2] == number)
    box = page.locator(".stage").bounding_box()
    width = box["width"] - LEFT - 4
    across = box["x"] + LEFT + width * (span[4] + span[5]) / 2 / end
    return across, box["y"] + 20 + ROW * span[1] + ROW / 2


def ticks(page: Any) -> list[str]:
    return list(page.locator(".stage .tick").all_text_contents())


def said(page: Any) -> str:
    return str(page.locator("output").inner_text())


def boxes(page: Any) -> int:
    """How many tasks are drawn."""
    drawn = page.locator(".stage .kind, .stage .failed").evaluate_all(
        "paths => paths.map(path => path.getAttribute('d').split('M').length - 1)"
    )
    return sum(drawn)


def choose(page: Any, first: str, second: str) -> None:
    page.locator("select").first.select_option(label=first)
    page.locator("select").nth(1).select_option(label=second)


def test_pointing_at_a_task_tells_its_times_and_what_it_waited_for(page: Any, report: Path) -> None:
    choose(page, "threads with 1", "nothing")
    page.locator(".stage").scroll_into_view_if_needed()
    page.mouse.move(*middle(page, report, "part-2"))
    assert re.match(r"part-2 \(part\); started at \S+ ms, ran \S+ ms; computed", said(page))
    assert "needed split last" in said(page)
    page.mouse.move(*middle(page, report, "join"))
    assert re.search(r"on the critical path, after (part-\d|flaky)\.", said(page))
    assert "split" in page.locator(".stage .name").all_text_contents()
    page.mouse.move(*middle(page, report, "flaky"))
    assert "flaky; attempt 1, failed" in said(page)
    page.mouse.move(*middle(page, report, "flaky", 2))
    assert "flaky; attempt 2; started" in said(page)
    assert page.locator(".stage .failed").count() == 1
    page.mouse.move(5, 5)
    assert said(page) == ""


def test_two_runs_stand_on_one_time_axis(page: Any, report: Path) -> None:
    choose(page, "threads with 2", "threads with 1")
    titles = page.locator(".stage .title").all_text_contents()
    assert [title.split(":")[0] for title in titles] == ["threads with 2", "threads with 1"]
    half = len(ticks(page)) // 2
    assert ticks(page)[:half] == ticks(page)[half:]
    assert page.locator(".stage .worker").count() == 3
    assert page.locator(".stage .critical").count() == 2
    choose(page, "threads with 2", "simulated: ideal with 2")
    assert "simulated: ideal with 2" in page.locator(".stage .title").nth(1).text_content()


def test_zooming_with_buttons_and_by_dragging(page: Any, report: Path) -> None:
    whole = ticks(page)
    page.get_by_label("zoom in").click()
    assert ticks(page) != whole
    zoomed = ticks(page)
    page.get_by_label("later").click()
    assert ticks(page) != zoomed
    page.get_by_label("earlier").click()
    assert ticks(page) == zoomed
    page.get_by_label("zoom out").click()
    assert ticks(page) == whole
    across, down = middle(page, report, "split")
    page.mouse.move(across, down)
    page.mouse.down()
    page.mouse.move(across + 200, down)
    assert float(page.locator(".stage .range").get_attribute("width")) == pytest.approx(200, abs=2)
    page.mouse.up()
    assert ticks(page) not in (whole, zoomed)
    page.locator(".stage").dblclick(position={"x": LEFT + 50, "y": 25})
    assert ticks(page) == whole


def test_short_tasks_are_hidden(page: Any) -> None:
    choose(page, "threads with 1", "nothing")
    assert boxes(page) == 8  # seven tasks, one of them twice
    field = page.get_by_label("hide tasks below")
    field.fill("15")
    assert boxes(page) == 4
    field.fill("10000")
    assert boxes(page) == 0
    field.fill("")
    assert boxes(page) == 8


def test_the_keyboard_does_all_of_it(page: Any) -> None:
    choose(page, "threads with 1", "nothing")
    page.locator("button[value=all]").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "stage"
    page.keyboard.press("ArrowRight")
    assert said(page).startswith("split;")
    page.keyboard.press("ArrowRight")
    assert "needed split last" in said(page)
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert said(page).startswith("join;")
    whole = ticks(page)
    page.keyboard.press("+")
    assert ticks(page) != whole
    page.keyboard.press("0")
    assert ticks(page) == whole
    page.keyboard.press("Escape")
    assert said(page) == ""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.locator("figure details table").first.is_visible()


def luminance(colour: str) -> float:
    """The relative luminance of a CSS colour, as WCAG 2.1 defines it."""
    red, green, blue = (int(value) / 255 for value in re.findall(r"\d+", colour)[:3])
    parts = [
        value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
        for value in (red, green, blue)
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(page: Any, selector: str, of: str = "color") -> float:
    colour = page.locator(selector).first.evaluate(f"one => getComputedStyle(one)['{of}']")
    behind = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = sorted((luminance(colour), luminance(behind)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_is_readable_in_light_and_dark(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    behind = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(behind) < 0.1) == (scheme == "dark")
    for selector in ("body", "a", ".note", ".keys", "dt"):
        assert contrast(page, selector) >= 4.5, selector
    for selector in (".tick", ".worker", ".title"):
        assert contrast(page, f".stage {selector}", "fill") >= 4.5, selector
    for selector in (".critical", ".line.crunning", ".line.ccores"):
        assert contrast(page, f".stage {selector}", "stroke") >= 3, selector


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_function("wide => document.querySelector('svg').clientWidth <= wide", arg=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_paper_there_are_no_buttons_and_no_dark_background(page: Any) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".tools").is_visible()
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) == 1
    assert contrast(page, "body") >= 4.5
    assert page.pdf()[:4] == b"%PDF"


def test_without_javascript_the_tables_are_there(chromium: Any, report: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.get_by_text("The timeline needs JavaScript").is_visible()
    assert not page.locator(".tools").is_visible()
    page.get_by_text("The critical path of").click()
    rows = page.locator("figure details table").first.locator("tbody tr").all_inner_texts()
    assert rows[0].startswith("split")
    assert rows[-1].startswith("join")
    assert "the value of" in rows[-1]
    context.close()
