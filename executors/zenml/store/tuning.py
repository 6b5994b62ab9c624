"""Makes the embedded store of ZenML commit faster: SQLite's write-ahead log, for those who ask.

A third of what an empty step takes is SQLite's commits, 17 of them, each of which waits for the
disk. With a write-ahead log, they wait only now and then. The log is a property of the database
file, so it is set by a command and never by a run; ZenML itself leaves it off on purpose.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Engine
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration

from executors.zenml.errors import TuneError

SQLITE = "sqlite:///"
WAL, ROLLBACK = "wal", "delete"  # journal modes; the second is SQLite's default
_known: WeakSet[Engine] = WeakSet()


def tune(undo: bool = False) -> list[str]:
    """Turns the write-ahead log of the store on, or off again.

    Args:
        undo: turn it off.

    Returns:
        What was done, and what that means, a line each.

    Raises:
        TuneError: the store is not an embedded one, another process uses it, or it cannot be
            changed.
    """
    file = database_file()
    wanted = ROLLBACK if undo else WAL
    mode = _set(file, wanted)
    if undo:
        return [f"{file}: write-ahead log off ({mode}), as ZenML had it"]
    return [
        f"{file}: write-ahead log on",
        "Runs on local_threaded and local_process no longer wait for the disk at each commit. If"
        " the power fails, the store may miss the last moments of a run; it stays readable.",
        "The store must be on a local disk, not on a network drive. Copy it together with the files"
        f" {file.name}-wal and {file.name}-shm, or turn this off before.",
        "To undo: bench zenml tune --undo",
    ]


def database_file() -> Path:
    """The file of ZenML's embedded store.

    Raises:
        TuneError: the store is another database, or a server.
    """
    configuration = GlobalConfiguration().store_configuration
    url = str(configuration.url)
    if not url.startswith(SQLITE):
        raise TuneError(
            f"ZenML's store is not an embedded SQLite database, but {url}; there is nothing to tune"
            " here. To see it: zenml status"
        )
    Client().zen_store  # noqa: B018 - creates the file, if it is the first time
    return Path(url.removeprefix(SQLITE))


def _set(file: Path, wanted: str) -> str:
    """Sets the journal mode of a database; returns the one that it has then."""
    _engine().dispose()  # the connections of this process
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=rw", uri=True, timeout=1.0)) as database:
            database.execute("BEGIN EXCLUSIVE").execute("ROLLBACK")
            mode = str(database.execute(f"PRAGMA journal_mode={wanted}").fetchone()[0])
    except sqlite3.Error as error:
        raise TuneError(
            f"{file} cannot be changed: {error}. Wait until no pipeline runs, and end other"
            " programs that use it, such as a dashboard: zenml logout --local"
        ) from error
    if mode != wanted:
        raise TuneError(f"{file} keeps its journal mode {mode}; its disk may not support another")
    return mode


def _engine() -> Engine:
    engine: Engine = Client().zen_store.engine  # type: ignore[attr-defined]
    return engine


def commit_quickly() -> None:
    """Lets commits of this process not wait for the disk, if the store has a write-ahead log.

    Without one, or on another store, it changes nothing.
    """
    store = Client().zen_store
    engine: Engine | None = getattr(store, "engine", None)
    if engine is None or engine in _known or engine.dialect.name != "sqlite":
        return
    _known.add(engine)
    event.listen(engine, "connect", _on_connect)
    engine.dispose()  # so that all connections are new


def _on_connect(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] == WAL:
        cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
