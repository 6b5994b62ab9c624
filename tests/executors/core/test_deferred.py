"""Actions that would not run when they are called are refused, and so is what they return."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache, partial, wraps
from typing import Any

import pytest

from executors import Graph, GraphError, Task, load_backend, run
from executors.core.policy import CONTINUE_ON_FAILURE


async def download(name: str = "x") -> str:
    return name


def lines(name: str = "x") -> Iterator[str]:
    yield name


async def pages() -> AsyncIterator[int]:
    yield 1


class Client:
    async def __call__(self) -> int:
        return 1

    async def fetch(self) -> int:
        return 1

    @classmethod
    async def create(cls) -> int:
        return 1

    @staticmethod
    def rows() -> Iterator[int]:
        yield 1


class Plain:
    """Has a method that is deferred, but is called without it."""

    async def close(self) -> None: ...

    def __call__(self) -> int:
        return 1


REFUSED: dict[str, Callable[..., Any]] = {
    "async def": download,
    "generator": lines,
    "async generator": pages,
    "partial": partial(download, "y"),
    "partial of a partial": partial(partial(lines), "y"),
    "callable object": Client(),
    "method": Client().fetch,
    "partial of a method": partial(Client().fetch),
    "class method": Client.create,
    "static method": Client.rows,
}


@pytest.mark.parametrize("action", REFUSED.values(), ids=REFUSED)
def test_a_task_whose_action_would_not_run_is_refused(action: Callable[..., Any]) -> None:
    with pytest.raises(GraphError, match=r"task 't': action must be .* asyncio.run"):
        Task("t", action)


@pytest.mark.parametrize(
    "action",
    [Plain(), Plain, Client, len, partial(len, ()), lambda: 1, cache(lambda: 1), [].append, dict],
)
def test_what_runs_is_not_refused(action: Callable[..., Any]) -> None:
    assert Task("t", action).action is action


@wraps(download)
def hidden(*arguments: Any) -> Any:
    return download(*arguments)


RETURNS: dict[str, tuple[Callable[[], Any], str]] = {
    "coroutine": (lambda: download(), "returned a coroutine, which has not run"),
    "wrapped": (hidden, "returned a coroutine, which has not run"),
    "generator": (lambda: (x for x in "abc"), "returned a generator.* list"),
    "async generator": (lambda: pages(), "returned an async generator"),
}


@pytest.mark.parametrize("backend", ["sequential", "threads", "processes"])
def test_a_value_that_has_not_run_fails_its_task(backend: str) -> None:
    graph = Graph(Task(name, action) for name, (action, _) in RETURNS.items())
    report = run(graph, load_backend(backend, 1), policy=CONTINUE_ON_FAILURE)
    for name, (_, says) in RETURNS.items():
        with pytest.raises(TypeError, match=says):
            raise report.tasks[name].error or AssertionError(name)


@pytest.mark.parametrize("backend", ["sequential", "threads", "processes"])
def test_the_advice_works(backend: str) -> None:
    actions = {"async": lambda: asyncio.run(download()), "list": lambda: list(lines())}
    graph = Graph(Task(name, action) for name, action in actions.items())
    report = run(graph, load_backend(backend, 1))
    assert report.values == {"async": "x", "list": ["x"]}
