"""Log records of processes that actions fork arrive in the program, like those of the actions."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executors import Graph, Task, run
from executors.backends.processes import Processes

log = logging.getLogger("job")
LONG = "x" * 10_000  # more than a pipe takes in one piece


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2) as backend:
        yield backend


def in_child(function: Callable[..., object], *arguments: Any) -> None:
    child = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    child.start()
    child.join()


def one_child() -> None:
    log.warning("task")
    in_child(log.warning, "child")
    log.warning("task again")


def grandchild() -> None:
    in_child(in_child, log.warning, "grandchild")


def bare_fork() -> None:
    pid = os.fork()
    if not pid:
        log.error("%s of %d", "fork", 3, extra={"thing": object()})
        os._exit(0)
    os.waitpid(pid, 0)


def long_record() -> None:
    in_child(log.warning, "x" * 300_000)


def log_often(times: int) -> None:
    for _ in range(times):
        log.warning(LONG)


def many_children() -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=log_often, args=(20,)) for _ in range(8)]
    for child in children:
        child.start()
    log_often(100)
    for child in children:
        child.join()


def of_a_shell() -> None:
    log.warning(subprocess.run(["echo", "hi"], capture_output=True, text=True).stdout.strip())


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (one_child, ["child", "task", "task again"]),
        (grandchild, ["grandchild"]),
        (bare_fork, ["fork of 3"]),
        (long_record, ["x" * 300_000]),
        (many_children, [LONG] * 260),
        (of_a_shell, ["hi"]),
    ],
)
def test_records_arrive_before_the_run_ends(
    pool: Processes,
    caplog: pytest.LogCaptureFixture,
    action: Callable[[], None],
    expected: list[str],
) -> None:
    run(Graph([Task("a", action)]), pool).raise_for_failures()
    assert sorted(record.getMessage() for record in caplog.records) == expected


def test_a_level_that_is_set_counts_for_children(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="job")
    graph = Graph([Task("a", lambda: in_child(log.info, "quiet"))])
    run(graph, Processes(1)).raise_for_failures()
    assert not caplog.records


def test_a_child_says_that_it_is_one(pool: Processes, caplog: pytest.LogCaptureFixture) -> None:
    run(Graph([Task("a", one_child)]), pool).raise_for_failures()
    names = {record.getMessage(): record.processName for record in caplog.records}
    assert str(names["task"]).startswith("process-")
    assert str(names["child"]).startswith("ForkProcess-")


def test_a_child_that_outlives_its_action_is_heard_in_the_next_run(
    pool: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    def leaves_a_child() -> None:
        if not os.fork():
            time.sleep(0.3)
            log.warning("late")
            os._exit(0)

    run(Graph([Task("a", leaves_a_child)]), pool).raise_for_failures()
    run(Graph([Task("a", lambda: time.sleep(0.6))]), pool).raise_for_failures()
    assert [record.getMessage() for record in caplog.records] == ["late"]
