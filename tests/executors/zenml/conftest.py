"""A real ZenML store in a temporary folder, and a stack with 8 workers of a flavor in use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of ZenML and of what it imports are its own; ours stay errors."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore", "error:::executors"))


with warnings.catch_warnings(action="ignore"):
    from zenml.utils import source_utils

# Pipelines need it when they are defined, and a process of pytest-xdist has no main file.
source_utils.set_custom_source_root(str(ROOT))


@contextmanager
def in_use(flavor: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stack with 8 workers of a flavor is the active one."""
    from tests.executors.zenml import steps, told

    monkeypatch.setenv(told.FOLDER, str(folder))
    monkeypatch.setenv(steps.FLAVOR, flavor)
    steps.use(8)
    yield
    steps.DO.clear()


@pytest.fixture
def threaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with in_use("threaded", tmp_path, monkeypatch):
        yield


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with in_use("process", tmp_path, monkeypatch):
        yield


@pytest.fixture(params=["threaded", "process"])
def flavor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    with in_use(request.param, tmp_path, monkeypatch):
        yield request.param


@pytest.fixture(autouse=True, scope="session")
def _no_workers_are_left() -> Iterator[None]:
    yield
    from executors.zenml.launch.pool import retire_pools

    retire_pools()
