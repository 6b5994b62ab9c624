"""Modules that have moved, imported by their old names."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from executors.imports.moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_module_that_moved_is_the_same_by_its_old_name(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if new.startswith("executors.zenml"):
        pytest.importorskip("zenml")
    module = import_module(new)
    spec = module.__spec__
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(PendingDeprecationWarning, match=f"{old} is now {new}"):
        assert import_module(old) is module
    assert module.__spec__ is spec


def test_the_warning_shows_the_line_of_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "executors.policy", raising=False)
    with pytest.warns(PendingDeprecationWarning, match="is now") as warned:
        from executors.policy import FAIL_FAST  # type: ignore[import-not-found]
    assert FAIL_FAST.name == "fail_fast"
    assert warned[0].filename == __file__


def test_no_other_name_is_found() -> None:
    assert find_spec("executors.nothing") is None
