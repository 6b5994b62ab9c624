"""One backend of each name, entered once and used by all contract tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from executors import Backend, load_backend
from tests.available import AVAILABLE
from tests.pages import ROOT, blocks

WORKERS = 3
DOCUMENTED = "the one in docs/add-a-backend.md"


def documented(workers: int) -> Backend:
    """The backend that the documentation shows."""
    names: dict[str, Any] = {"__name__": "example"}
    (example,) = blocks(ROOT / "docs" / "add-a-backend.md", "python")
    exec(compile(example, "add-a-backend.md", "exec"), names)
    backend: Backend = names["Pooled"](workers)
    return backend


@pytest.fixture(scope="session", params=[*AVAILABLE, DOCUMENTED])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    name = request.param
    with documented(WORKERS) if name == DOCUMENTED else load_backend(name, WORKERS) as entered:
        yield entered
