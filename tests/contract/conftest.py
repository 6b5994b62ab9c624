"""One backend of each name, entered once and used by all contract tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executors import Backend, backend_names, load_backend
from executors.backends import backend_class

WORKERS = 3
AVAILABLE = [name for name in backend_names() if backend_class(name).unavailable() is None]


@pytest.fixture(scope="session", params=AVAILABLE)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with load_backend(request.param, WORKERS) as entered:
        yield entered
