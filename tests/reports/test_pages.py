"""The page and its figures, from results whose truth is known."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bench.results.store import read_results
from reports import write_report
from tests.bench.results.written import TYPICAL, write


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report that is drawn once; the tests only read it."""
    folder = tmp_path_factory.mktemp("page")
    return write_report(read_results(write(folder, TYPICAL, noise=0.001)), folder / "out")


def test_every_link_and_image_of_the_page_exists(page: Path) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", page.read_text())
    figures = [target for target in targets if not target.startswith("#")]
    assert len(figures) == 8
    for target in figures:
        assert (page.parent / target).exists()
    assert "## Glossary" in page.read_text()


def test_the_page_is_plain_markdown_that_tables_parse_in(page: Path) -> None:
    text = page.read_text()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = [token.type for token in tokens]
    assert "html_block" not in kinds
    assert kinds.count("table_open") == 1 + 2 * 4 + 1
    assert all(line.count(" | ") < 6 for line in text.splitlines() if line.startswith("| "))
    headings = [tokens[at + 1].content for at, kind in enumerate(kinds) if kind == "heading_open"]
    assert headings[0] == "Which executor, and how many workers?"
    assert len(headings) == len(set(headings))
    for row in text.splitlines():
        if row.startswith("|"):
            assert not re.search(r"\bnan\b|\binf\b", row)


def test_the_finding_comes_first_and_the_tables_have_the_figures(page: Path) -> None:
    text = page.read_text()
    assert text.index("**Waiting tasks: 8 threads for fan-in") < text.index("|")
    assert re.search(
        r"\| ★ threads \| 8 \| 4[01]\.\d ms \| 4\.\d\d \(4\.\d\d to 4\.\d\d\) \|", text
    )
    assert "the speedup is at most 4.50, however many workers there are" in text
    assert "interrupted" not in text


def test_figures_are_valid_and_keep_their_text(page: Path) -> None:
    for figure in ("speedup-fan-in", "cores-busy-fan-in", "speedup-chain", "cores-busy-chain"):
        name = f"{figure}-sleep-20ms"
        root = ET.parse(page.parent / f"{name}.svg").getroot()
        words = " ".join(
            "".join(text.itertext()) for text in root.iter() if text.tag.endswith("}text")
        )
        assert "sleep:20ms" in words
        assert "threads" in words
        assert (page.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    speedup = (page.parent / "speedup-fan-in-sleep-20ms.svg").read_text()
    for words in ("max_workers", "ideal", "bound of the graph", "CPUs", ">pick<"):
        assert words in speedup


def test_alternative_texts_state_the_finding(page: Path) -> None:
    (speedup, *_) = re.findall(r"!\[([^]]+)\]", page.read_text())
    assert "threads with 8" in speedup
    assert "4.39 times" in speedup


@pytest.mark.usefixtures("undrawn")
def test_results_of_a_few_blocks_say_that_they_are_unsure(tmp_path: Path) -> None:
    text = write_report(read_results(write(tmp_path, TYPICAL, blocks=2)), tmp_path).read_text()
    assert "fewer than 5 blocks" in text
    assert "too few blocks" in text


@pytest.mark.usefixtures("undrawn")
def test_results_without_measurements_make_a_page_that_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, blocks=0, planned=84, end=None)
    text = write_report(read_results(path), tmp_path / "out").read_text()
    assert "Nothing can be said yet" in text
    assert "0 of 84 measurements" in text


def test_a_backend_that_is_not_ours_is_drawn_too(tmp_path: Path) -> None:
    times = {**TYPICAL, ("fan-in", "sleep:20ms", "dask-threads", 2): 0.11}
    page = write_report(read_results(write(tmp_path, times)), tmp_path / "out")
    assert "dask-threads" in page.read_text()
    assert "dask-threads" in (page.parent / "speedup-fan-in-sleep-20ms.svg").read_text()


def test_figures_of_a_shape_have_the_same_scale(page: Path) -> None:
    def heights(kernel: str) -> list[str]:
        text = (page.parent / f"speedup-fan-in-{kernel}.svg").read_text()
        (axis,) = re.findall(
            r'<g id="matplotlib.axis_2">(.*?)<g id="text_\d+">\s*<text[^>]*>speedup', text, re.S
        )
        return re.findall(r'<use [^>]*y="([\d.]+)"', axis)

    assert heights("sleep-20ms") == heights("python-cpu-20ms") != []


@pytest.mark.usefixtures("undrawn")
def test_a_machine_that_was_not_quiet_comes_before_the_picks(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL, noise=0.001)
    path.write_text(path.read_text().replace('"others_running": 0.0', '"others_running": 9.0'))
    text = write_report(read_results(path), tmp_path / "out").read_text()
    assert text.index("**Unusable: ") < text.index("**Waiting tasks: probably 8 threads")
    assert "| ★" not in text
    assert "| ? threads with 8 |" in text


def test_figures_fit_a_phone_and_have_no_background(page: Path) -> None:
    for figure in page.parent.glob("*.svg"):
        root = ET.parse(figure).getroot()
        assert float(root.attrib["width"].removesuffix("pt")) <= 360
        assert "#ffffff" not in figure.read_text()


@pytest.mark.usefixtures("undrawn")
def test_tasks_that_wait_have_no_figure_of_idle_cores(tmp_path: Path) -> None:
    path = write(tmp_path, TYPICAL)
    path.write_text(re.sub(r'"cpu_s": [\d.e-]+', '"cpu_s": 0.001', path.read_text()))
    page = write_report(read_results(path), tmp_path / "out")
    assert "The tasks wait: fewer than 0.1 cores are busy." in page.read_text()
    assert not list(page.parent.glob("cores-busy*"))


@pytest.mark.usefixtures("undrawn")
def test_graphs_of_similar_names_have_figures_of_their_own(tmp_path: Path) -> None:
    times = {
        (name, "noop", backend, workers): 1.0
        for name in ("my.etl:make", "my-etl:make", "My.etl:make")
        for backend, workers in (("sequential", 1), ("threads", 2))
    }
    text = write_report(read_results(write(tmp_path, times)), tmp_path / "out").read_text()
    figures = re.findall(r"\((speedup-[^)]+)\)", text)
    assert len(figures) == len(set(figures)) == 3
