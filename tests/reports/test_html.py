"""The report as one HTML file."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.analysis.summary import summarise
from bench.cli import main
from bench.results.store import read_results
from bench.results.timelines import GraphTasks, Span, Timeline
from reports import write_report
from reports.account import detail
from reports.html import critical_path
from tests.bench.results.written import TYPICAL, write

EXAMPLE = Path(__file__).parents[2] / "docs" / "reports" / "fan-in-diamond"
VOID = {"meta", "link", "img", "input", "br", "hr"}


class Checked(HTMLParser):
    """Notes what a page refers to, and whether its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [values[name] or "" for name in ("src", "href") if name in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def checked(page: Path) -> Checked:
    parser = Checked()
    parser.feed(page.read_text())
    parser.close()
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    for link in parser.links:
        assert link.startswith(("#", "data:")), "it needs no other file and no network"
        assert not link.startswith("#") or link[1:] in parser.ids
    return parser


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    (folder / "html_tasks.py").write_text(
        "from executors import Graph, Task\n"
        "def work(*_): return 1\n"
        "def make():\n"
        "    names = ['</script><b>bold</b>', 'a & b', 'ünïcode']\n"
        "    return Graph([*(Task(name, work) for name in names), Task('end', work, names)])\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        options = ["--shapes", "diamond", "--kernel", "sleep:1ms", "--graph", "html_tasks:make"]
        options += ["--max-workers", "2", "--blocks", "2", "-q", "-o", "out"]
        result = CliRunner().invoke(main, ["run", *options])
        assert result.exit_code == 0, result.output
    return folder / "out"


def data_of(page: Path) -> list[dict[str, Any]]:
    pattern = r'<script type="application/json">(.*?)</script>'
    return [json.loads(text) for text in re.findall(pattern, page.read_text(), re.DOTALL)]


def test_the_page_is_whole_and_needs_nothing_else(measured: Path) -> None:
    parser = checked(measured / "report.html")
    assert parser.texts["h2"][:2] == ["diamond, sleep:1ms", "html_tasks:make"]
    words = " ".join(parser.texts["p"])
    assert summarise(read_results(measured)).finding in words


def test_the_same_results_give_the_same_bytes(measured: Path, tmp_path: Path) -> None:
    write_report(read_results(measured), tmp_path)
    assert (tmp_path / "report.html").read_bytes() == (measured / "report.html").read_bytes()


def test_names_cannot_break_the_page(measured: Path) -> None:
    page = measured / "report.html"
    assert "<b>bold" not in page.read_text()
    (_, own) = data_of(page)
    assert own["tasks"]["names"] == ["</script><b>bold</b>", "a & b", "ünïcode", "end"]


def test_the_script_has_the_timelines_of_the_file(measured: Path) -> None:
    results = read_results(measured)
    pages = data_of(measured / "report.html")
    for data, shape in zip(pages, results.header["shapes"], strict=True):
        lines = {line.case.where: line for line in results.timelines if line.shape == shape}
        simulated = [run for run in data["runs"] if run["title"] not in lines]
        assert [run["title"].startswith("simulated: ideal") for run in simulated] in ([True], [])
        for run in data["runs"]:
            if (line := lines.get(run["title"])) is not None:
                assert run["end"] == line.end
                assert len(run["spans"]) == 7 * len(line.spans)
                assert run["spans"][4:6] == [line.spans[0].started, line.spans[0].ended]


def test_the_parts_have_intervals_and_add_up() -> None:
    groups = summarise(read_results(EXAMPLE)).groups
    for group in groups:
        titles, rows = detail(group)
        assert len(titles) == len(group.causes) + 1 > 1
        assert next(iter(group.causes)) == (group.guess or group.pick).case
        for column in range(1, len(titles)):
            cells = [row[column] for row in rows]
            assert sum(float(cell.split()[0]) for cell in cells) == pytest.approx(100, abs=0.5)
            for cell in cells:
                value, *ends = map(float, re.findall(r"-?[\d.]+", cell))
                assert ends == sorted(ends)
                assert not ends or ends[0] <= value <= ends[1]
    page = (EXAMPLE / "report.html").read_text()
    assert page.count("The parts in % of workers x makespan, with 95 % intervals") == len(groups)


def test_results_without_timelines_have_a_page_without(tmp_path: Path) -> None:
    write_report(read_results(write(tmp_path, TYPICAL)), tmp_path / "out")
    parser = checked(tmp_path / "out" / "report.html")
    assert "script" not in parser.texts
    assert parser.texts["h2"][0] == "fan-in, sleep:20ms"


def test_a_large_run_is_a_small_page(tmp_path: Path) -> None:
    options = ["--shapes", "independent:width=10000", "--kernel", "noop", "--backends", "threads"]
    options += ["--max-workers", "2", "--blocks", "1", "-q", "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(main, ["run", *options]).exit_code == 0
    assert (tmp_path / "out" / "report.html").stat().st_size < 2_000_000


def span(task: int, worker: int, started: int, ended: int) -> Span:
    return Span(task, worker, 1, 0, started, started, ended, ended, -1)


@pytest.mark.parametrize(
    ("needs", "spans", "path"),
    [
        ([[], [0]], [span(0, 0, 0, 5), span(1, 0, 5, 9)], [0, 1]),
        ([[], [], [0, 1]], [span(0, 0, 0, 5), span(1, 1, 0, 7), span(2, 0, 7, 9)], [1, 2]),
        ([[], []], [span(0, 0, 0, 5), span(1, 0, 5, 9)], [0, 1]),  # it waited for its worker
        ([[], []], [span(0, 0, 0, 5), span(1, 1, 0, 9)], [1]),
        ([[], [], [0]], [span(0, 0, 0, 2), span(1, 1, 0, 5), span(2, 1, 5, 9)], [1, 2]),
    ],
)
def test_the_critical_path_is_what_each_task_waited_for_last(
    needs: list[list[int]], spans: list[Span], path: list[int]
) -> None:
    names = [f"t{index}" for index in range(len(needs))]
    tasks = GraphTasks("x", len(names), names, ["t"], [0] * len(names), needs)
    line = Timeline("x", "k", "threads", 2, 0, 9, ["a", "b"], spans)
    assert [one.task for one in critical_path(tasks, line)] == path
