"""Workers that a template forks."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors import CONTINUE_ON_FAILURE, Graph, Task, WorkerDied, run
from executors.backends.processes import ForkedProcesses
from executors.backends.workers.bodies import forked
from executors.backends.workers.bodies.forked import CAN_SEE_THE_END, Template
from tests.executors.backends.workers import warm

pytestmark = pytest.mark.skipif(not CAN_SEE_THE_END, reason="templates need Linux's pidfd")


@contextmanager
def template(function: Callable[[], None] = warm.warm) -> Iterator[Template]:
    one = Template("tests.executors.backends.workers.warm", function.__name__)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def warmed() -> Iterator[Template]:
    with template() as one:
        yield one


def answers(pool: ForkedProcesses, *actions: Callable[[], Any]) -> list[Any]:
    tasks = [Task(f"t{number}", action) for number, action in enumerate(actions)]
    return list(run(Graph(tasks), pool).values.values())


def who() -> tuple[int, list[int]]:
    time.sleep(0.05)  # so that each worker has one
    return os.getpid(), warm.MADE_IN


def error_of(pool: ForkedProcesses, action: Callable[[], Any]) -> BaseException | None:
    return run(Graph([Task("t", action)]), pool, policy=CONTINUE_ON_FAILURE).tasks["t"].error


def test_workers_are_forks_of_one_process_that_was_made_ready_once(warmed: Template) -> None:
    with ForkedProcesses(2, warmed) as first, ForkedProcesses(1, warmed) as second:
        workers = {*first.pids, *second.pids}
        assert len(workers) == 3
        (parent,) = {psutil.Process(pid).ppid() for pid in workers}
        assert psutil.Process(parent).ppid() == os.getpid()
        seen = answers(first, *[who] * 8) + answers(second, who)
    assert {pid for pid, _ in seen} == workers
    assert [made for _, made in seen] == [[parent]] * 9
    assert not any(map(psutil.pid_exists, workers))
    assert psutil.pid_exists(parent)
    warmed.close()
    assert not psutil.pid_exists(parent)


def test_a_worker_has_the_surroundings_of_now(
    warmed: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORMER", "here")
    with ForkedProcesses(1, warmed) as pool:
        assert answers(pool, lambda: os.environ["FORMER"]) == ["here"]
    monkeypatch.delenv("FORMER")
    monkeypatch.setenv("LATER", "here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[Any] = []

    def initialize() -> None:
        import os
        import sys

        os.environ["SEEN"] = f"{os.environ.get('FORMER')} {os.environ['LATER']} {sys.path[0]}"

    with ForkedProcesses(1, warmed, initializer=initialize) as pool:
        seen = answers(pool, lambda: os.environ["SEEN"], os.getcwd)
    assert seen == [f"None here {tmp_path}", str(tmp_path)]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os._exit(3), "exited with code 3"),
    ],
)
def test_a_worker_that_dies_is_named_and_replaced(
    warmed: Template, action: Callable[[], Any], words: str
) -> None:
    with ForkedProcesses(1, warmed) as pool:
        error = error_of(pool, action)
        assert isinstance(error, WorkerDied)
        assert words in str(error)
        ((_, made),) = answers(pool, who)
        assert made != [os.getpid()]


def test_workers_outlive_their_template_and_the_next_one_gets_a_new_template(
    warmed: Template,
) -> None:
    with ForkedProcesses(1, warmed) as pool:
        ((pid, (gone,)),) = answers(pool, who)
        os.kill(gone, signal.SIGKILL)
        assert answers(pool, who) == [(pid, [gone])]
        error = error_of(pool, lambda: os._exit(3))
        assert isinstance(error, WorkerDied)
        assert "the process that forked it is gone" in str(error)
        ((_, (other,)),) = answers(pool, who)
        assert other not in (gone, os.getpid())


@pytest.mark.parametrize("function", [warm.start_a_thread, warm.fail])
def test_a_template_that_cannot_fork_is_done_without(function: Callable[[], None]) -> None:
    with template(function) as one, ForkedProcesses(2, one) as pool:
        assert {psutil.Process(pid).ppid() for pid in pool.pids} == {os.getpid()}
        assert answers(pool, lambda: "done") == ["done"]


def test_workers_draw_different_random_numbers() -> None:
    def draw() -> tuple[float, float, int]:
        import numpy.random

        time.sleep(0.05)
        return random.random(), numpy.random.random(), os.getpid()

    with template(warm.warm_with_numpy) as one, ForkedProcesses(2, one) as pool:
        drawn = answers(pool, *[draw] * 6)
        assert not one._cannot_fork  # although OpenBLAS has threads
    assert len({pid for _, _, pid in drawn}) == 2
    assert len({number for number, _, _ in drawn}) == len({number for _, number, _ in drawn}) == 6


def test_an_interrupt_while_the_template_starts_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    monkeypatch.setenv("TOLD", str(told))

    def interrupt() -> None:
        while not (told.exists() and told.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with template(warm.take_long) as one:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            ForkedProcesses(1, one).open()
        thread.join()
        assert not psutil.pid_exists(int(told.read_text()))
        one._what = warm.__name__, warm.warm.__name__
        with ForkedProcesses(1, one) as pool:
            assert answers(pool, lambda: "done") == ["done"]


PROGRAM = """
import os, sys, time
from executors.backends.processes import ForkedProcesses
from executors.backends.workers.bodies.forked import Template

pool = ForkedProcesses(2, Template("tests.executors.backends.workers.warm", "warm"))
pool.open()
print(*pool.pids, flush=True)
if sys.argv[1] == "killed":
    time.sleep(1000)
"""


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_all_end_with_the_program(how: str) -> None:
    command = [sys.executable, "-c", PROGRAM, how]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert program.stdout is not None
    pids = [int(word) for word in program.stdout.readline().split()]
    assert len(pids) == 2
    if how == "killed":
        family = psutil.Process(program.pid).children(recursive=True)
        assert len(family) == 3
        program.kill()
    _, errors = program.communicate(timeout=60)
    assert errors == ""
    give_up_s = time.monotonic() + 60
    while any(map(psutil.pid_exists, pids)):
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def test_a_forked_program_has_a_template_of_its_own(warmed: Template) -> None:
    with ForkedProcesses(1, warmed) as pool:
        ((_, (mine,)),) = answers(pool, who)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ((_, (other,)),) = answers(pool, who)
                code = 0 if other != mine else 2
                warmed.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert answers(pool, who)[0][1] == [mine]


def test_what_the_template_says_is_said_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with template(warm.say) as one, ForkedProcesses(2, one):
        pass
    assert capfd.readouterr().out.count("said") == 1


def test_a_worker_prints_where_the_program_prints_now(
    warmed: Template, capfd: pytest.CaptureFixture[str]
) -> None:
    def say() -> None:
        sys.stdout.write("printed\n")
        os.write(2, b"told\n")

    with capfd.disabled(), ForkedProcesses(1, warmed):
        pass  # the template has the standard output of now
    with ForkedProcesses(1, warmed) as pool:
        answers(pool, say)
    assert capfd.readouterr() == ("printed\n", "told\n")


def test_elsewhere_workers_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "CAN_SEE_THE_END", False)
    with template() as one, ForkedProcesses(1, one) as pool:
        assert [psutil.Process(pid).ppid() for pid in pool.pids] == [os.getpid()]
