"""Exceptions are the same on threads and on worker processes: type, text, fields, notes, chain."""

from __future__ import annotations

import asyncio
import binascii
import concurrent.futures
import configparser
import dataclasses
import decimal
import email.errors
import http.client
import importlib
import ipaddress
import json
import pickle
import queue
import re
import socket
import sqlite3
import struct
import subprocess
import threading
import tomllib
import urllib.error
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

import click
import numpy as np
import pydantic
import pytest
import requests

from executors import CONTINUE_ON_FAILURE, Graph, RemoteError, Task, run
from executors.backends.processes import Processes
from executors.backends.threads import Threads
from executors.pickling.packing import load, pack
from executors.pickling.raised import dumps_raised


class BuildsItsText(Exception):
    def __init__(self, what: str, limit: int = 10) -> None:
        super().__init__(f"quota of {what} exceeded (limit {limit})")
        self.what, self.limit = what, limit


class AddsToItsText(ValueError):
    def __init__(self, text: str) -> None:
        super().__init__("invalid: " + text)


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class WithSlots(Exception):
    __slots__ = ("left", "right")

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = left, right

    def __str__(self) -> str:
        return f"{self.left} or {self.right}"


class OwnNew(Exception):
    def __new__(cls, *, value: int) -> OwnNew:
        return super().__new__(cls, "made", value)

    def __init__(self, *, value: int) -> None:
        self.value = value


class Missing(FileNotFoundError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "gone", path)
        self.path = path


class NoArguments(Exception):
    def __init__(self) -> None:
        super().__init__("always the same")


class OwnReduce(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first}, {second}")
        self.pair = first, second

    def __reduce__(self) -> Any:
        return OwnReduce, self.pair


class Several(ExceptionGroup[Exception]):
    def derive(self, excs: Any) -> Several:  # type: ignore[override]
        return Several(self.message, excs)


class Model(pydantic.BaseModel):
    number: int


EMPTY: dict[str, int] = {}


def raises(error: BaseException) -> NoReturn:
    raise error


def cause() -> None:
    try:
        raises(Missing("/no/such/file"))
    except OSError as error:
        raise RuntimeError("cannot load") from error


def context() -> NoReturn:
    try:
        raise AddsToItsText("first")
    except ValueError:
        EMPTY["second"]
    raise AssertionError


def hidden_context() -> NoReturn:
    try:
        raise AddsToItsText("first")
    except ValueError:
        raise KeyError("second") from None


def long_chain() -> NoReturn:
    error: BaseException = BuildsItsText("start")
    for at in range(20):
        try:
            raise AddsToItsText(str(at)) from error
        except ValueError as next_one:
            error = next_one
    raise error


def circle() -> NoReturn:
    first, second = AddsToItsText("first"), BuildsItsText("second")
    first.__context__, second.__context__ = second, first
    raise first


def noted() -> NoReturn:
    error = BuildsItsText("notes")
    error.add_note("look here")
    error.add_note("and there")
    raise error


def grouped() -> NoReturn:
    inner = ExceptionGroup("inner", [Missing("x"), AddsToItsText("y")])
    raise ExceptionGroup("outer", [BuildsItsText("z"), inner])


ACTIONS: dict[str, Callable[[], object]] = {
    "builds its text": lambda: raises(BuildsItsText("disk", limit=3)),
    "adds to its text": lambda: raises(AddsToItsText("colour")),
    "keyword only": lambda: raises(KeywordOnly(code=3)),
    "slots": lambda: raises(WithSlots(1, 2)),
    "own new": lambda: raises(OwnNew(value=4)),
    "own OSError": lambda: raises(Missing("/a/b")),
    "no arguments": lambda: raises(NoArguments()),
    "own reduce": lambda: raises(OwnReduce(5, 6)),
    "own group": lambda: raises(Several("several", [AddsToItsText("a")])),
    "cause": cause,
    "context": context,
    "hidden context": hidden_context,
    "long chain": long_chain,
    "circle": circle,
    "notes": noted,
    "groups": grouped,
    "ArithmeticError": lambda: raises(ArithmeticError("x", 2)),
    "AssertionError": lambda: raises(AssertionError()),
    "AttributeError": lambda: (1).foo,  # type: ignore[attr-defined]
    "BadZipFile": lambda: zipfile.ZipFile(__file__),
    "BadParameter": lambda: raises(click.BadParameter("no", param_hint="--x")),
    "BlockingIOError": lambda: raises(BlockingIOError(11, "again", 7)),
    "BrokenExecutor": lambda: raises(concurrent.futures.BrokenExecutor("pool")),
    "BrokenPipeError": lambda: raises(BrokenPipeError(32, "pipe")),
    "CalledProcessError": lambda: subprocess.run(["false"], check=True),
    "ClickException": lambda: raises(click.ClickException("no")),
    "ConnectionRefusedError": lambda: raises(ConnectionRefusedError(111, "refused")),
    "DecimalException": lambda: decimal.Decimal("x"),
    "DuplicateSectionError": lambda: raises(configparser.DuplicateSectionError("a")),
    "EOFError": lambda: raises(EOFError()),
    "Empty": lambda: queue.Queue[int]().get_nowait(),
    "FileExistsError": lambda: raises(FileExistsError(17, "there", "a", None, "b")),
    "FloatingPointError": lambda: raises(FloatingPointError("x")),
    "HTTPException": lambda: raises(http.client.IncompleteRead(b"abc", 5)),
    "HTTPError": lambda: raises(urllib.error.HTTPError("u", 404, "none", {}, None)),  # type: ignore[arg-type]
    "IncompleteReadError": lambda: raises(asyncio.IncompleteReadError(b"x", 3)),
    "IndexError": lambda: [][0],
    "InvalidURL": lambda: requests.get("http://", timeout=1),
    "JSONDecodeError": lambda: json.loads("{"),
    "KeyError": lambda: EMPTY["a"],
    "KeyboardInterrupt": lambda: raises(KeyboardInterrupt("now")),
    "LinAlgError": lambda: np.linalg.inv(np.zeros((2, 2))),
    "LookupError": lambda: "x".encode("no-such-codec"),
    "MemoryError": lambda: raises(MemoryError("much")),
    "MessageError": lambda: raises(email.errors.MessageError("x")),
    "ModuleNotFoundError": lambda: importlib.import_module("no_such_module"),
    "NameError": lambda: undefined,  # type: ignore[name-defined] # noqa: F821
    "NoOptionError": lambda: raises(configparser.NoOptionError("a", "b")),
    "NotImplementedError": lambda: raises(NotImplementedError("later")),
    "OperationalError": lambda: raises(sqlite3.OperationalError('near "bad": syntax error')),
    "OverflowError": lambda: 1e308**2,
    "ParseError": lambda: ElementTree.fromstring("<a"),
    "PermissionError": lambda: raises(PermissionError(13, "denied", "/root")),
    "PydanticError": lambda: Model(number="x"),  # type: ignore[arg-type]
    "RecursionError": lambda: raises(RecursionError("deep")),
    "RequestException": lambda: raises(requests.ConnectionError("no", request=None)),
    "StopAsyncIteration": lambda: raises(StopAsyncIteration(1)),
    "StopIteration": lambda: raises(StopIteration(5)),
    "SyntaxError": lambda: compile("a b", "file.py", "exec"),
    "SystemExit": lambda: raises(SystemExit(3)),
    "TimeoutError": lambda: raises(TimeoutError()),
    "TimeoutExpired": lambda: raises(subprocess.TimeoutExpired(["a"], 3.0, b"out")),
    "TOMLDecodeError": lambda: tomllib.loads("a="),
    "TypeError": lambda: len(3),  # type: ignore[arg-type]
    "URLError": lambda: raises(urllib.error.URLError(OSError(1, "why"))),
    "UnicodeDecodeError": lambda: b"\xff".decode(),
    "UnicodeEncodeError": lambda: "€".encode("ascii"),
    "UnicodeTranslateError": lambda: raises(UnicodeTranslateError("a", 0, 1, "why")),
    "ValueError": lambda: ipaddress.ip_address("x"),
    "ZeroDivisionError": lambda: 1 / 0,
    "binascii.Error": lambda: binascii.a2b_base64("a", strict_mode=True),
    "herror": lambda: raises(socket.herror(1, "host")),
    "numpy ValueError": lambda: np.zeros(2) + np.zeros(3),
    "AxisError": lambda: np.zeros(3).sum(axis=4),
    "re.error": lambda: re.compile("("),
    "struct.error": lambda: struct.unpack("i", b""),
    "zlib.error": lambda: zlib.decompress(b"x"),
}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, dict[str, BaseException | None]]]:
    """The error of each action on threads and on processes."""
    graph = Graph(Task(name, action) for name, action in ACTIONS.items())
    errors = {}
    with Threads(1) as threads, Processes(1) as processes:
        for backend in (threads, processes):
            report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
            errors[backend.name] = {name: report.tasks[name].error for name in ACTIONS}
    yield errors


def seen(error: BaseException | None, depth: int = 0) -> Any:
    """All that a user can see of an exception."""
    if error is None or depth > 30:
        return error
    kind = type(error)
    fields = "errno strerror filename filename2 name path code value msg lineno offset text object"
    fields += " start end reason left right"
    notes = getattr(error, "__notes__", ())
    notes = [note for note in notes if not note.startswith("In process-")]  # the traceback
    values = {name: repr(value) for name, value in vars(error).items() if name != "__notes__"}
    return (
        (kind.__module__, kind.__qualname__, str(error)),
        [repr(argument) for argument in error.args],
        [repr(getattr(error, field, None)) for field in fields.split()],
        without_addresses(values),
        notes,
        error.__suppress_context__,
        seen(error.__cause__, depth + 1),
        seen(error.__context__, depth + 1),
        [seen(one, depth + 1) for one in getattr(error, "exceptions", ())],
    )


def without_addresses(values: object) -> str:
    return re.sub("0x[0-9a-f]+", "0x", str(values))


@pytest.mark.parametrize("name", ACTIONS)
def test_an_exception_is_the_same_on_threads_and_processes(
    outcomes: dict[str, dict[str, BaseException | None]], name: str
) -> None:
    here, there = outcomes["threads"][name], outcomes["processes"][name]
    assert here is not None
    assert without_addresses(seen(there)) == without_addresses(seen(here))


def caught(action: Callable[[], object]) -> dict[str, list[BaseException]]:
    """As `asyncio.gather(..., return_exceptions=True)` returns it, for example."""
    try:
        action()
    except BaseException as error:
        return {"errors": [error]}
    raise AssertionError


def test_an_exception_inside_a_value_is_the_same_on_threads_and_processes() -> None:
    graph = Graph(Task(name, partial(caught, action)) for name, action in ACTIONS.items())
    with Threads(1) as threads, Processes(1) as processes:
        reports = [
            run(graph, backend, policy=CONTINUE_ON_FAILURE) for backend in (threads, processes)
        ]
    for name in ACTIONS:
        (here,), (there,) = (report.values[name]["errors"] for report in reports)
        assert without_addresses(seen(there)) == without_addresses(seen(here))


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    what: str


class Thing:
    pass


def types_of(backend: Any, actions: list[Callable[[], object]]) -> list[Any]:
    graph = Graph(Task(str(i), action) for i, action in enumerate(actions))
    report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    return [
        (type(record.error), re.sub(r" at 0x\w+", "", str(record.error)))
        for record in report.tasks.values()
    ]


def test_what_cannot_be_pickled_in_an_exception_costs_only_itself() -> None:
    actions: list[Callable[[], object]] = [
        lambda: threading.Lock().nothing,  # type: ignore[attr-defined]
        lambda: requests.get("http://127.0.0.1:9", timeout=5),
        lambda: raises(ValueError("bad", Thing())),
        lambda: raises(Frozen("a")),
        lambda: raises(KeepsALock("kept")),
        lambda: pydantic.TypeAdapter(int).validate_python("x"),
    ]
    here, there = types_of(Threads(1), actions), types_of(Processes(1), actions)
    assert [kind for kind, _ in there] == [kind for kind, _ in here]
    assert there[1][1].partition("object")[0] == here[1][1].partition("object")[0]
    assert there[:1] + there[2:] == here[:1] + here[2:]


def test_exceptions_share_what_they_share_in_a_value() -> None:
    shared = [1]
    first, second = ValueError(shared), KeyError("b")
    second.__cause__ = first
    one, other, copy = load(pack([first, second, shared]))
    assert other.__cause__ is one
    assert one.args[0] is copy


def test_the_same_exception_twice_in_a_value_stays_one() -> None:
    error = BuildsItsText("disk")
    first, second = load(pack([error, error]))
    assert first is second
    assert str(first) == "quota of disk exceeded (limit 10)"


def test_the_cause_of_an_exception_in_a_value_may_become_text() -> None:
    error = AddsToItsText("outer")
    error.__cause__ = HoldsALock("inner")
    (copy,) = load(pack([error]))
    assert type(copy) is AddsToItsText
    assert isinstance(copy.__cause__, RemoteError)
    assert "inner" in str(copy.__cause__)


class HoldsALock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text, threading.Lock())


class KeepsALock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text, self.lock = text, threading.Lock()


def test_an_attribute_that_cannot_be_pickled_is_left_out() -> None:
    arrived = sent(KeepsALock("it is locked"))
    assert type(arrived) is KeepsALock
    assert vars(arrived) == {"text": "it is locked"}
    assert str(arrived) == "it is locked"


def sent(error: BaseException) -> Any:
    return pickle.loads(dumps_raised(error))


def test_what_cannot_be_pickled_becomes_text_with_its_notes_and_its_chain() -> None:
    error = HoldsALock("it is locked")
    error.add_note("look here")
    error.__cause__ = BuildsItsText("cause")
    error.__cause__.__context__ = error
    arrived = sent(error)
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name.endswith("HoldsALock")
    assert "it is locked" in str(arrived)
    assert "(the exception itself cannot be sent" in str(arrived)
    assert arrived.__notes__ == ["look here"]
    assert str(arrived.__cause__) == "quota of cause exceeded (limit 10)"
    assert arrived.__cause__ is not None
    assert arrived.__cause__.__context__ is arrived


def test_a_cause_that_cannot_be_pickled_costs_only_itself() -> None:
    error = BuildsItsText("disk")
    error.__cause__ = HoldsALock("it is locked")
    error.__cause__.__context__ = error
    arrived = sent(error)
    assert type(arrived) is BuildsItsText
    assert isinstance(arrived.__cause__, RemoteError)
    assert "it is locked" in str(arrived.__cause__)
    assert arrived.__cause__.__context__ is arrived


def test_a_group_with_such_a_member_becomes_text() -> None:
    arrived = sent(ExceptionGroup("several", [HoldsALock("it is locked"), AddsToItsText("x")]))
    assert isinstance(arrived, RemoteError)
    assert "several (2 sub-exceptions)" in str(arrived)


class ChangesItsText(Exception):
    def __reduce__(self) -> Any:
        return ValueError, ("another text",)


def test_an_exception_that_comes_back_changed_becomes_text() -> None:
    arrived = sent(ChangesItsText("the text"))
    assert isinstance(arrived, RemoteError)
    assert "ChangesItsText: the text (the exception itself" in str(arrived)
    grouped = sent(ExceptionGroup("several", [ChangesItsText("the text")]))
    assert isinstance(grouped, RemoteError)
