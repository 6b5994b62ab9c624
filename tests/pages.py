"""The pages of the documentation, and the code in them."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ZENML_PAGE = ROOT / "docs" / "zenml.md"  # its examples run in tests/executors/zenml/test_page.py
PROCESSES_PAGE = ROOT / "docs" / "zenml-processes.md"  # likewise
STACKS_PAGE = ROOT / "docs" / "stacks.md"  # likewise


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    tokens = MarkdownIt().parse(page.read_text())
    return [token.content for token in tokens if token.type == "fence" and token.info == language]
