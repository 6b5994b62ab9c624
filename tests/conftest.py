"""What all tests share: a quiet ZenML, no processes left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

os.environ["ZENML_ANALYTICS_OPT_IN"] = "false"
os.environ["MPLBACKEND"] = "agg"


@pytest.fixture(autouse=True)
def _own_zenml_configuration(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "zenml"
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(folder))
    monkeypatch.delenv("EXECUTOR_BENCH_CPUS", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _no_process_is_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(left, timeout=5)
    assert not alive, f"processes outlive the tests: {alive}"
