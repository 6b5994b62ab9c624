"""What all tests share: a quiet ZenML, no processes left behind."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.machine.build import is_gil_enabled
from tests.processes import working_children

# Free-threaded builds have no ZenML.
collect_ignore = [] if find_spec("zenml") else ["executors/zenml"]

# At once, because some of ZenML's decorators open the store when a module of tests is imported; and
# for each process of pytest-xdist. The folder is removed when this process ends.
CONFIGURATION = tempfile.TemporaryDirectory(prefix="zenml-")
os.environ["ZENML_CONFIG_PATH"] = CONFIGURATION.name
os.environ["ZENML_ANALYTICS_OPT_IN"] = "false"
os.environ["MPLBACKEND"] = "agg"
LONG_FILES = ("test_page.py", "test_docs.py", "test_stops.py")
# However slow the machine is.
settings.register_profile(
    "any speed",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any speed")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of a few long tests come first, or one process would have them at the end, alone."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of reports are empty files, for tests of everything but the figures."""

    def draw(*arguments: object) -> None:
        for kind in ("svg", "png"):
            Path(f"{arguments[-1]}.{kind}").touch()

    for name in ("draw_speedup", "draw_cores_busy"):
        monkeypatch.setattr(f"reports.pages.{name}", draw)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles and sweeps take a moment, and are rough: for tests of everything but their figures.

    Only in this process.
    """
    for place, value in (
        ("bench.predict.prediction.LOOP_S", 0.002),
        ("bench.predict.prediction.REPEATS", 1),
        ("bench.predict.prediction.SLEEP_STEPS", 3),
        ("bench.predict.profiler.ROUNDS", 1),
        ("bench.predict.profiler.OWN_ROUNDS", 1),
        ("bench.granularity.sweep.TOTAL_S", 0.002),
    ):
        monkeypatch.setattr(place, value)


@pytest.fixture(autouse=True)
def _own_cpu_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXECUTOR_BENCH_CPUS", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _hypothesis_has_begun() -> None:
    """Its first test looks for what refers to its random numbers: in vain once that is frozen."""
    given(st.none())(lambda nothing: None)()


@pytest.fixture(autouse=True, scope="module")
def _little_is_searched_for_garbage(_hypothesis_has_begun: None) -> None:
    """What earlier tests and all imports have left, ZenML most of all, is not searched again.

    `bench` collects garbage before each run that it times: half a second, with all that.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _lock_stays_off() -> Iterator[None]:
    """On a free-threaded build, whose lock a module may have switched on."""
    before = is_gil_enabled()
    yield
    assert is_gil_enabled() == before


@pytest.fixture(autouse=True, scope="session")
def _no_process_is_left() -> Iterator[None]:
    before = working_children()
    yield
    _, alive = psutil.wait_procs(working_children() - before, timeout=30)
    assert not alive, f"processes outlive the tests: {alive}"
