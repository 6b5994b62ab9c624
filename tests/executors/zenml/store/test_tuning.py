"""`bench zenml tune`: what it does to the store, and when it refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration

from bench.cli import main
from executors.zenml.errors import TuneError
from executors.zenml.launch.pool import retire_pools
from executors.zenml.store import tuning
from tests.executors.zenml.steps import DO, EVENTS, made_of, statuses

pytestmark = pytest.mark.usefixtures("flavor")


@pytest.fixture(autouse=True)
def _undone(flavor: str) -> Iterator[None]:
    yield
    undo()


def undo() -> str:
    """What the command says; workers have the store open, so they end first."""
    retire_pools()
    done = CliRunner().invoke(main, ["zenml", "tune", "--undo"])
    assert done.exit_code == 0, done.output
    return done.output


def pragma(name: str) -> object:
    """Of a connection of this process to the store."""
    with Client().zen_store.engine.connect() as connection:  # type: ignore[attr-defined]
        return connection.execute(text(f"PRAGMA {name}")).scalar()


def test_a_tuned_store_does_not_wait_for_the_disk_until_that_is_undone() -> None:
    made_of({"a": []})()
    assert (pragma("journal_mode"), pragma("synchronous")) == ("delete", 2)
    done = CliRunner().invoke(main, ["zenml", "tune"])
    assert done.exit_code == 0, done.output
    assert "write-ahead log on" in done.output
    assert "bench zenml tune --undo" in done.output
    run = made_of({"a": [], "b": ["a"]})()
    assert statuses(run) == dict.fromkeys(["", "a", "b"], "completed")
    assert (pragma("journal_mode"), pragma("synchronous")) == ("wal", 1)
    tuning.tune()  # again
    assert "write-ahead log off" in undo()
    made_of({"a": []})()
    assert (pragma("journal_mode"), pragma("synchronous")) == ("delete", 2)


def test_steps_do_not_wait_either() -> None:
    tuning.tune()
    DO["a"] = lambda: EVENTS.append(f"synchronous {pragma('synchronous')}")
    made_of({"a": []})()
    assert "synchronous 1" in EVENTS


def test_it_is_refused_while_another_program_uses_the_store() -> None:
    file = tuning.database_file()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TuneError, match=r"cannot be changed: database is locked\. Wait until"):
            tuning.tune()
        other.execute("ROLLBACK")
    assert pragma("journal_mode") == "delete"


def test_another_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        GlobalConfiguration().store_configuration, "url", "mysql://somewhere/zenml", raising=False
    )
    with pytest.raises(TuneError, match="not an embedded SQLite database, but mysql://somewhere"):
        tuning.tune()
    monkeypatch.undo()
