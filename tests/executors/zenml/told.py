"""What tests tell steps, and what steps tell tests: in files, since steps may run in processes."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path

from cloudpickle import dumps, loads

WAIT_S = 60.0  # longest wait for another step; a test that gets there fails
FOLDER = "TESTED_FOLDER"  # the variable that has the folder of the test

Action = Callable[[], object]


def folder() -> Path:
    return Path(os.environ[FOLDER])


def eventually(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


class Events:
    """What steps and hooks have said, in order; like a list."""

    def append(self, text: str) -> None:
        with (folder() / "events").open("a") as file:
            file.write(text + "\n")

    def clear(self) -> None:
        (folder() / "events").unlink(missing_ok=True)

    def all(self) -> list[str]:
        file = folder() / "events"
        return file.read_text().splitlines() if file.exists() else []

    def count(self, text: str) -> int:
        return self.all().count(text)

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())

    def __getitem__(self, index: int) -> str:
        return self.all()[index]

    def __eq__(self, other: object) -> bool:
        return self.all() == other

    __hash__ = None  # type: ignore[assignment]


class Actions(MutableMapping[str, Action]):
    """What a step does, by its name: the object itself in this process, and a copy in others."""

    def __init__(self) -> None:
        self._here: dict[str, Action] = {}

    def __setitem__(self, name: str, action: Action) -> None:
        self._here[name] = action
        try:
            content = dumps(action)
        except Exception:
            return  # it has a lock, or the like: for threads only
        (folder() / f"do {name}").write_bytes(content)

    def __getitem__(self, name: str) -> Action:
        if name in self._here:
            return self._here[name]
        file = folder() / f"do {name}"
        if not file.exists():
            raise KeyError(name)
        action: Action = loads(file.read_bytes())
        return action

    def __delitem__(self, name: str) -> None:
        del self._here[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._here)

    def __len__(self) -> int:
        return len(self._here)

    def __reduce__(self) -> tuple[type[Actions], tuple[()]]:
        return Actions, ()


class Flag:
    """Like threading.Event."""

    def __init__(self) -> None:
        self._name = f"flag {uuid.uuid4()}"

    def set(self) -> None:
        (folder() / self._name).touch()

    def is_set(self) -> bool:
        return (folder() / self._name).exists()

    def wait(self) -> None:
        eventually(self.is_set)


class Counter:
    """Counts its calls, from 1."""

    def __init__(self) -> None:
        self._name = f"count {uuid.uuid4()}"

    def __call__(self) -> int:
        number = 1
        while True:
            try:
                (folder() / f"{self._name} {number}").touch(exist_ok=False)
                return number
            except FileExistsError:
                number += 1

    def has_come_to(self, number: int) -> bool:
        return (folder() / f"{self._name} {number}").exists()


class Occupancy:
    """What steps do that run in groups of a size: wait for each other, then stay for a moment."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._arrived = Counter()
        self._events = Events()

    def run(self) -> None:
        number = self._arrived()
        mine = folder() / f"runs {number}"
        mine.touch()
        self._events.append(f"{len(list(folder().glob('runs *')))} run")
        last = -(-number // self._size) * self._size
        eventually(lambda: self._arrived.has_come_to(last))
        time.sleep(0.05)  # for one too many to come
        mine.unlink()

    @property
    def most(self) -> int:
        """How many ran at the same time."""
        return max(int(event.split()[0]) for event in self._events if event.endswith(" run"))
