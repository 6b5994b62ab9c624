"""What a program changes between two runs reaches the workers that a backend keeps."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors import Graph, Task, load_backend, run
from executors.imports.surroundings import Surroundings


@pytest.fixture(params=["threads", "processes"])
def backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    with load_backend(request.param, 2) as backend:
        yield backend


def seen(backend: Any, action: Any) -> list[Any]:
    """The values of several tasks, so that each worker has some."""
    graph = Graph([Task(f"t{i}", action) for i in range(6)])
    return list(run(graph, backend).values.values())


def test_the_current_folder(backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.txt").write_text("mine")
    before = os.getcwd()  # noqa: PTH109
    assert seen(backend, os.getcwd) == [before] * 6
    monkeypatch.chdir(tmp_path)
    assert seen(backend, lambda: Path("data.txt").read_text()) == ["mine"] * 6
    monkeypatch.undo()
    assert seen(backend, os.getcwd) == [before] * 6


def test_the_environment(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> tuple[str | None, str | None]:
        return os.environ.get("EXECUTORS_TEST_A"), os.environ.get("EXECUTORS_TEST_B")

    monkeypatch.setenv("EXECUTORS_TEST_A", "ä=\udcff")
    assert seen(backend, look) == [("ä=\udcff", None)] * 6
    monkeypatch.delenv("EXECUTORS_TEST_A")
    monkeypatch.setenv("EXECUTORS_TEST_B", "2")
    assert seen(backend, look) == [(None, "2")] * 6


def test_the_path_of_modules(backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"found_late_{backend.name}"
    for folder in ("first", "last"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(f"def act():\n    return {folder!r}\n")
    monkeypatch.syspath_prepend(tmp_path / "last")
    assert seen(backend, lambda: 1) == [1] * 6  # the workers know that folder
    monkeypatch.syspath_prepend(tmp_path / "first")
    try:
        module = __import__(name)
        assert seen(backend, module.act) == ["first"] * 6

        def imports() -> Any:
            return __import__(name).act()

        assert seen(backend, imports) == ["first"] * 6
    finally:
        sys.modules.pop(name, None)


def test_what_a_worker_changed_itself_stays_until_the_program_changes_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def initialize() -> None:
        os.environ["EXECUTORS_TEST_A"] = "of the worker"

    def look() -> str | None:
        return os.environ.get("EXECUTORS_TEST_A")

    with load_backend("processes", 1, initializer=initialize) as backend:
        monkeypatch.setenv("EXECUTORS_TEST_B", "new")
        assert set(seen(backend, look)) == {"of the worker"}
        monkeypatch.setenv("EXECUTORS_TEST_A", "of the program")
        assert set(seen(backend, look)) == {"of the program"}


def test_a_folder_that_cannot_be_entered_leaves_the_worker_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.getcwd()  # noqa: PTH109
    with load_backend("processes", 1) as backend:
        folder = tmp_path / "deleted"
        folder.mkdir()
        monkeypatch.chdir(folder)
        folder.rmdir()
        assert set(seen(backend, os.getcwd)) == {before}


def test_nothing_changed_is_nothing_to_do() -> None:
    now = Surroundings.of_this_process()
    assert now == Surroundings.of_this_process()
    assert now.environment
    assert now.since(now) == (None, None, {})


def test_workers_agree_on_hashes_without_a_trace_in_their_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    seeds = set()
    for _ in range(2):  # also those of the next backend
        with load_backend("processes", 3) as backend:
            seeds |= set(seen(backend, lambda: hash("a text")))
            assert set(seen(backend, lambda: os.environ.get("PYTHONHASHSEED"))) == {None}
    assert len(seeds) == 1
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    with load_backend("processes", 2) as backend:
        assert set(seen(backend, lambda: os.environ.get("PYTHONHASHSEED"))) == {"7"}
        assert not seeds & set(seen(backend, lambda: hash("a text")))
