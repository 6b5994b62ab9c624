"""A real ZenML store in a temporary folder, and a stack with 8 workers in use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
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


@pytest.fixture
def threaded() -> Iterator[None]:
    from tests.executors.zenml import steps

    steps.use(8)
    yield
    steps.EVENTS.clear()
    steps.DO.clear()
