"""Tables as text, and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

Rows = Sequence[Sequence[str]]


def text_table(titles: Sequence[str], rows: Rows, left: int = 1) -> list[str]:
    """Lines of a table with aligned columns; the first `left` columns are aligned to the left."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if index < left else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (titles, *rows)
    ]


def html_table(titles: Sequence[str], rows: Rows) -> str:
    """A plain table, which notebooks style as their own."""
    from html import escape  # workers need none of this

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table>\n<thead>{line(titles, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def data_frame(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Any:
    """A pandas DataFrame.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ImportError("to_pandas needs pandas; install it with: pip install pandas") from error
    return pandas.DataFrame(list(rows), columns=list(columns))
