"""The number of BLAS threads with which a run was started."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.machine.blas import blas_threads_of


@pytest.mark.parametrize(
    ("line", "threads"),
    [
        ('{"config": {"options": {"blas_threads": 3}}}', 3),
        ('{"config": {"options": {"blas_threads": "3"}}}', None),
        ('{"config": 1}', None),
        ("{}", None),
        ("", None),
        ("[" * 100_000, None),
    ],
)
def test_the_header_says_it_or_nothing_does(tmp_path: Path, line: str, threads: int | None) -> None:
    (tmp_path / "results.jsonl").write_text(line + "\n")
    assert blas_threads_of(tmp_path / "results.jsonl") == threads


def test_without_a_file_nothing_does(tmp_path: Path) -> None:
    assert blas_threads_of(tmp_path / "results.jsonl") is None
