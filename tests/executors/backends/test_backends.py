"""Backends by name, from this package and from others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors import (
    Backend,
    BackendError,
    Graph,
    Task,
    backend_names,
    load_backend,
    run,
    usable_cpus,
)
from executors.backends import backend_class, default_backends, why_unavailable
from executors.backends.base import Feature
from executors.backends.sequential import Sequential
from tests.available import AVAILABLE

PACKAGE = """
from executors.backends.base import Feature
from executors.backends.sequential import Sequential

class Mine(Sequential):
    name = "mine"

class Never(Sequential):
    name = "never"

    @classmethod
    def unavailable(cls):
        return "it needs a moon; wait for one"
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution with entry points, as pip would have made it."""
    (tmp_path / "other_backends.py").write_text(PACKAGE)
    info = tmp_path / "other_backends-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-backends\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[executors.backends]\n"
        "mine = other_backends:Mine\n"
        "never = other_backends:Never\n"
        "lost = other_backends_lost:Mine\n"
        "wrong = other_backends:Sequential.drive\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("other_backends", None)


def test_the_baseline_comes_first() -> None:
    ours = ["sequential", "interpreters", "processes", "threads"]
    assert backend_names()[:4] == ours
    assert default_backends() == [name for name in ours if why_unavailable(name) is None]


@pytest.mark.usefixtures("other_package")
def test_a_backend_of_another_package_is_found_by_its_entry_point() -> None:
    assert "mine" in backend_names()
    with load_backend("mine") as backend:
        assert run(Graph([Task("t", lambda: 3)]), backend).values == {"t": 3}


@pytest.mark.usefixtures("other_package")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("never", "'never' is not available here: it needs a moon; wait for one"),
        ("lost", "'lost' .* cannot be imported"),
        ("wrong", "'wrong' .* is not a subclass of Backend"),
        ("parsl", "unknown backend 'parsl'; known backends: sequential, interpreters, lost, mine"),
    ],
)
def test_a_backend_that_cannot_be_had_says_why(name: str, says: str) -> None:
    with pytest.raises(BackendError, match=says):
        load_backend(name)


@pytest.mark.parametrize("name", AVAILABLE)
@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_bad_worker_counts_are_refused(name: str, workers: object) -> None:
    with pytest.raises(BackendError, match="a whole number of at least 1, not"):
        load_backend(name, workers)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", AVAILABLE)
def test_the_default_is_what_may_be_used(name: str) -> None:
    expected = 1 if name == "sequential" else usable_cpus()
    assert load_backend(name).workers == expected


def test_run_refuses_what_is_no_graph_or_backend() -> None:
    with pytest.raises(ValueError, match="needs a Graph, not"):
        run([Task("t", int)], load_backend("sequential"))  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="needs a Backend or its name, such as 'threads'"):
        run(Graph([]), 3)  # type: ignore[arg-type]


def test_every_backend_is_of_the_port() -> None:
    for name in backend_names():
        assert issubclass(backend_class(name), Backend)
        assert backend_class(name).name == name


@pytest.mark.usefixtures("other_package")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine", None),
        ("never", "it needs a moon"),
        ("lost", "cannot be imported: No module named 'other_backends_lost'"),
        ("wrong", "is not a subclass of Backend"),
    ],
)
def test_a_broken_package_is_a_reason_not_an_error(name: str, says: str | None) -> None:
    reason = why_unavailable(name)
    assert reason is None if says is None else says in str(reason)


WITHOUT = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {missing!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Nothing())
"""


@pytest.mark.parametrize("missing", [["fcntl"], ["termios", "resource"], ["resource"]])
def test_a_system_without_posix_modules_says_so(missing: list[str]) -> None:
    script = (
        WITHOUT.format(missing=missing)
        + """
from executors import BackendError, Graph, Task, backend_names, load_backend, run
print(backend_names()[:4])
print(run(Graph([Task("a", lambda: 1)]), load_backend("threads", 2)).values)
try:
    load_backend("processes")
except BackendError as error:
    print(error)
from click.testing import CliRunner
from bench.cli import main
print(CliRunner().invoke(main, ["list"]).output)
"""
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    reason = (
        "not available here: it needs a POSIX system (Linux or macOS); this Python has no module"
    )
    assert lines[:2] == ["['sequential', 'interpreters', 'processes', 'threads']", "{'a': 1}"]
    assert lines[2].startswith(f"backend 'processes' is {reason}")
    assert any(name in lines[2] for name in missing)
    assert any(line.startswith("processes") and reason in line for line in lines)


def test_naming_the_backends_imports_none_of_the_machinery() -> None:
    script = (
        "import sys, executors\n"
        "executors.backend_names()\n"
        "executors.load_backend('threads')\n"
        "from executors.backends import why_unavailable\n"
        "assert why_unavailable('processes') is None\n"
        "loaded = {'executors.backends.workers.pool', 'executors.backends.workers.handle',"
        " 'executors.pickling.packing', 'subprocess', 'mmap'}\n"
        "print(sorted(loaded & set(sys.modules)))"
    )
    script = f"import sys; sys.path += {sys.path!r}\n{script}"
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_listing_the_backends_imports_none_of_the_packages_behind_them() -> None:
    packages = {"dask", "distributed", "joblib", "loky", "pebble"}
    script = (
        "import sys\n"
        "from bench.cli import main\n"
        "main(['list', '--long'], standalone_mode=False)\n"
        f"print(sorted({packages | {'ray'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "dask-processes" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    ("feature", "task"),
    [
        (Feature.RETRIES, Task("t", int, retries=1)),
        (Feature.TIMEOUTS, Task("t", int, timeout_s=5.0)),
        (Feature.SLOTS, Task("t", int, slots=2)),
        (Feature.CONTEXTS, Task("t", int, context="mine")),
    ],
)
def test_a_backend_refuses_what_it_says_that_it_cannot_do(feature: Feature, task: Task) -> None:
    class Limited(Sequential):
        name = "limited"
        cannot = {feature: "it is too simple"}

    assert run(Graph([Task("t", int)]), Limited()).succeeded
    with pytest.raises(BackendError, match=f"limited does not support {feature}: it is too simple"):
        run(Graph([task]), Limited())
