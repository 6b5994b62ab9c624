"""What `local_process` has beyond `local_threaded`: steps that die or that are kept apart."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from zenml.client import Client
from zenml.config.retry_config import StepRetryConfig

from executors import MemoryLimitExceeded, NotPicklable, TaskTimeout, WorkerDied
from executors.backends.workers.bodies.forked import CAN_SEE_THE_END
from executors.zenml.launch import pool as workers
from executors.zenml.launch.apart import apart
from executors.zenml.launch.pool import LeaseGivenUp, Worker, WorkerOptions, WorkerPool
from tests.executors.zenml.steps import (
    DO,
    EVENTS,
    both,
    last_run,
    made_of,
    meets,
    statuses,
    use,
)
from tests.executors.zenml.test_steps import logged
from tests.executors.zenml.told import Counter, Occupancy, eventually

pytestmark = pytest.mark.usefixtures("process")

ROOT = Path(__file__).parents[4]


def said(start: str) -> list[str]:
    """What follows this start in the events that have it."""
    return [event.removeprefix(start) for event in EVENTS if event.startswith(start)]


# -- apart --------------------------------------------------------------------------------------


@pytest.fixture
def secret() -> Iterator[str]:
    client = Client()
    client.create_secret("tested", {"PASSWORD": "hidden"})
    yield "tested"
    client.delete_secret("tested")


def test_steps_that_run_at_once_do_not_see_each_others_variables_or_random_state(
    secret: str,
) -> None:
    meets("a", "b")

    def looks(meet: Callable[[], object]) -> Callable[[], None]:
        def look() -> None:
            random.seed(os.environ.get("WHICH"))
            meet()
            EVENTS.append(f"saw {os.environ.get('WHICH')} {os.environ.get('PASSWORD')}")
            EVENTS.append(f"drew {random.random() == random.Random(os.environ['WHICH']).random()}")

        return look

    for name in ("a", "b"):
        DO[name] = looks(DO[name])
    made_of(
        {"a": [], "b": []},
        {
            "a": {"environment": {"WHICH": "a"}, "secrets": [secret]},
            "b": {"environment": {"WHICH": "b"}},
        },
    )()
    assert sorted(said("saw ")) == ["a hidden", "b None"]
    assert said("drew ") == ["True", "True"]
    assert "WHICH" not in os.environ


def test_a_step_leaves_nothing_in_its_worker() -> None:
    use(1)

    def pollutes() -> None:
        os.environ["LEFT"] = "behind"
        os.chdir("/")
        sys.path.insert(0, "/left")
        warnings.simplefilter("error", UserWarning)
        random.seed(0)
        EVENTS.append(f"drew {random.random()}")
        os.umask(0o077)

    def looks() -> None:
        EVENTS.append(f"LEFT is {os.environ.get('LEFT')}")
        EVENTS.append(f"folder is / {Path.cwd() == Path('/')}")
        EVENTS.append(f"path has it {'/left' in sys.path}")
        warnings.warn("not an error", UserWarning, stacklevel=1)
        EVENTS.append(f"drew {random.random()}")
        EVENTS.append(f"mask is {os.umask(0o022):o}")
        EVENTS.append(f"worker {os.getpid()}")

    DO.update(a=both(pollutes, lambda: EVENTS.append(f"worker {os.getpid()}")), b=looks, c=looks)
    made_of({"a": [], "b": ["a"], "c": ["b"]})()
    assert len(set(said("worker "))) == 1
    assert said("LEFT is ") == ["None", "None"]
    assert said("folder is / ") == ["False", "False"]
    assert said("path has it ") == ["False", "False"]
    assert "77" not in said("mask is ")
    assert len(set(said("drew "))) == 3  # also unseeded steps draw different numbers


def test_what_a_step_may_have_removed_is_there_again(tmp_path: Path) -> None:
    before, folder = dict(os.environ), Path.cwd()
    with apart({"WHICH": "a"}):
        assert os.environ["WHICH"] == "a"
        del os.environ["PATH"]
        os.chdir(tmp_path)
    assert dict(os.environ) == before
    assert Path.cwd() == folder


# -- the end of a step --------------------------------------------------------------------------

ENDS: list[tuple[str, Callable[[], object], str]] = [
    ("killed", lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
    ("crashed", lambda: ctypes.string_at(0), "was killed by SIGSEGV"),
    ("left", lambda: os._exit(3), "exited with code 3"),
]


@pytest.mark.parametrize(("end", "says"), [pytest.param(*one[1:], id=one[0]) for one in ENDS])
def test_a_step_whose_process_ends_has_failed_and_the_others_go_on(
    end: Callable[[], object], says: str
) -> None:
    DO["bad"] = both(lambda: print("the last words"), end)  # noqa: T201
    with pytest.raises(RuntimeError, match=r"failure in step\(s\): bad$"):
        made_of({"bad": [], "other": [], "after": ["bad"]}, execution_mode="continue_on_failure")()
    assert statuses(last_run()) == {"": "failed", "bad": "failed", "other": "completed"}
    step = last_run().steps["bad"]
    assert step.exception_info is not None
    assert says in step.exception_info.traceback
    assert "the last words" in logged(step, "step")
    with pytest.raises(WorkerDied, match=says):
        made_of({"bad": []}, execution_mode="fail_fast")()


def test_a_step_whose_process_is_killed_is_retried() -> None:
    attempts = Counter()

    def dies_once() -> None:
        if attempts() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    DO["a"] = dies_once
    run = made_of({"a": []}, {"a": {"retry": StepRetryConfig(max_retries=1)}})()
    assert statuses(run) == {"": "completed", "a": "completed"}
    versions = Client().list_run_steps(pipeline_run_id=run.id, sort_by="asc:version").items
    assert [version.status for version in versions] == ["retried", "completed"]


def test_a_step_that_takes_too_long_is_killed() -> None:
    use(1, step_timeout_s=1.0)
    DO["a"] = lambda: time.sleep(60)
    with pytest.raises(TaskTimeout, match=r"longer than its timeout of 1 s"):
        made_of({"a": []}, execution_mode="fail_fast")()
    assert statuses(last_run()) == {"": "failed", "a": "failed"}


def test_a_step_that_is_killed_before_the_store_knows_of_it_has_failed() -> None:
    use(1, step_timeout_s=0.001)
    with pytest.raises(TaskTimeout, match=r"longer than its timeout of 0\.001 s"):
        made_of({"a": []}, execution_mode="fail_fast")()
    assert statuses(last_run()) == {"": "failed", "a": "failed"}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_step_that_needs_too_much_memory_has_failed() -> None:
    use(1, memory_limit_bytes=2_000_000_000)
    DO["a"] = lambda: bytearray(3_000_000_000)
    with pytest.raises((MemoryError, MemoryLimitExceeded)):
        made_of({"a": []}, execution_mode="fail_fast")()
    assert statuses(last_run()) == {"": "failed", "a": "failed"}
    DO["a"] = lambda: None
    made_of({"a": []})()


# -- workers ------------------------------------------------------------------------------------


def test_workers_are_kept_for_the_next_run_unless_they_should_be_fresh() -> None:
    DO["a"] = lambda: EVENTS.append(f"worker {os.getpid()}")
    for configuration, count in (({}, 1), ({"fresh_workers": True}, 2)):
        use(1, **configuration)
        EVENTS.clear()
        for _ in range(2):
            made_of({"a": []})()
        assert len(set(said("worker "))) == count


def test_two_runs_share_the_workers() -> None:
    use(2)
    occupancy = Occupancy(2)
    DO.update(dict.fromkeys(("a", "b", "c", "d"), occupancy.run))
    runs = [threading.Thread(target=made_of({one: [], two: []})) for one, two in ("ab", "cd")]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert occupancy.most == 2


def test_a_module_that_was_edited_is_imported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenml.utils import source_utils

    (tmp_path / "edited.py").write_text("VALUE = 1\n")
    monkeypatch.setattr(source_utils, "get_source_root", lambda: str(tmp_path))
    monkeypatch.setattr(source_utils, "_resolve_module", lambda module: module.__name__)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def says() -> None:
        from edited import VALUE  # type: ignore[import-not-found]

        EVENTS.append(f"value {VALUE}")

    DO["a"] = says
    use(1)
    made_of({"a": []})()
    (tmp_path / "edited.py").write_text("VALUE = 20\n")
    future_s = time.time() + 5
    os.utime(tmp_path / "edited.py", (future_s, future_s))
    made_of({"a": []})()
    assert said("value ") == ["1", "20"]


def locks() -> object:
    return threading.Lock()


def test_a_state_that_cannot_be_pickled_starts_nothing() -> None:
    with pytest.raises(NotPicklable, match=r"init hook returned, of type lock.*local_threaded"):
        made_of({"a": []}, on_init=locks)()
    assert "a started" not in EVENTS
    assert statuses(last_run()) == {"": "failed"}


PROGRAM = """
import os, sys
from zenml import pipeline, step

class Model:
    def __init__(self, number):
        self.number = number

class TooLarge(Exception):
    pass

@step(enable_cache=False)
def train(number: int) -> Model:
    if number > 5:
        raise TooLarge(number)
    return Model(number)

@step(enable_cache=False)
def total(one: Model, two: Model) -> int:
    assert isinstance(one, Model)
    return one.number + two.number

@pipeline(enable_cache=False)
def training(first: int, execution_mode: str = "fail_fast"):
    total(train(first, id="first"), train(2, id="second"))

print("the program starts", os.getpid())
run = training(1)
if run is not None:  # None where it is only imported
    print("sum", run.steps["total"].output.load(), type(run.steps["first"].output.load()) is Model)
    try:
        training.with_options(execution_mode="fail_fast")(6)
    except TooLarge as error:
        print("raised", error)
"""


def program(path: Path, text: str) -> subprocess.Popen[str]:
    path.write_text(text)
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ZENML_LOGGING_COLORS_DISABLED": "true"},
        cwd=path.parent,
    )


def test_steps_classes_and_exceptions_of_a_program_without_a_guard(tmp_path: Path) -> None:
    process = program(tmp_path / "train.py", PROGRAM)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "sum 3 True" in said
    assert "raised 6" in said
    assert f"the program starts {process.pid}" in said


SLEEPS = """
import time
from zenml import pipeline, step

@step(enable_cache=False)
def sleeps() -> None:
    print("asleep", flush=True)
    time.sleep(100)

@pipeline(enable_cache=False)
def sleeping():
    sleeps()

if __name__ == "__main__":
    sleeping()
"""


def test_no_worker_outlives_a_program_that_is_killed(tmp_path: Path) -> None:
    process = program(tmp_path / "sleeping.py", SLEEPS)
    assert process.stdout is not None
    for line in process.stdout:
        if "asleep" in line:
            break
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.kill()
    process.communicate(timeout=100)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


class Made:
    """A worker of a pool, for tests of the pool alone."""

    def __init__(self, starts: threading.Event, error: BaseException | None = None) -> None:
        self.is_usable = True
        self.has_ended = False
        self._starts = starts
        self._error = error

    def open(self) -> None:
        assert self._starts.wait(20)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.has_ended = True


def made_pool(size: int, starts: threading.Event, made: list[Any], **options: Any) -> WorkerPool:
    def new() -> Worker:
        made.append(Made(starts))
        worker: Worker = made[-1]
        return worker

    return WorkerPool(WorkerOptions(size, **options), new)


@pytest.mark.skipif(not CAN_SEE_THE_END, reason="templates need Linux's pidfd")
def test_workers_that_start_at_once_are_forks_of_one_process() -> None:
    pool = WorkerPool(WorkerOptions(3))
    pool.fill()
    workers = [psutil.Process(pid) for worker in pool._idle for pid in worker._backend.pids]
    assert len(workers) == 3
    (template,) = {worker.ppid() for worker in workers}
    assert psutil.Process(template).ppid() == os.getpid()
    pool.retire()
    assert not any(worker.is_running() for worker in workers)


def test_a_lease_can_be_given_up_while_the_worker_starts() -> None:
    starts, made = threading.Event(), []  # type: ignore[var-annotated]
    pool = made_pool(1, starts, made)
    with pytest.raises(LeaseGivenUp):
        pool.lease(lambda: bool(made))
    starts.set()
    assert pool.lease(lambda: False) is made[0]
    assert len(made) == 1


def test_a_worker_that_cannot_start_is_an_error_of_one_lease_only() -> None:
    starts = threading.Event()
    starts.set()
    errors: list[BaseException | None] = [OSError("no room"), None]

    def new() -> Worker:
        worker: Any = Made(starts, errors.pop(0))
        return worker  # type: ignore[no-any-return]

    pool = WorkerPool(WorkerOptions(1), new)
    with pytest.raises(OSError, match="no room"):
        pool.lease(lambda: False)
    pool.lease(lambda: False)


def test_a_retired_pool_ends_its_workers_but_serves_those_who_wait() -> None:
    starts, made = threading.Event(), []  # type: ignore[var-annotated]
    starts.set()
    pool = made_pool(1, starts, made)
    first = pool.lease(lambda: False)
    got: list[Worker] = []
    waits = threading.Thread(target=lambda: got.append(pool.lease(lambda: False)))
    waits.start()
    eventually(lambda: pool._waiting == 1)
    pool.retire()
    pool.give_back(first)
    waits.join()
    assert got == [first]
    assert not made[0].has_ended
    pool.give_back(first)
    assert made[0].has_ended


def test_an_unusable_or_fresh_worker_is_not_used_again() -> None:
    starts, made = threading.Event(), []  # type: ignore[var-annotated]
    starts.set()
    for options in ({}, {"is_fresh": True}):
        pool = made_pool(1, starts, made, **options)
        worker = pool.lease(lambda: False)
        worker.is_usable = bool(options)
        pool.give_back(worker)
        assert made[-1].has_ended
        assert pool.lease(lambda: False) is not worker


def test_no_more_workers_start_than_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "has_room", lambda size: False)
    monkeypatch.setattr(workers, "PATIENCE_S", 0.0)
    starts, made = threading.Event(), []  # type: ignore[var-annotated]
    starts.set()
    pool = made_pool(8, starts, made)
    first = pool.lease(lambda: False)
    with pytest.raises(LeaseGivenUp):
        pool.lease(lambda: "no memory for more than 1 worker processes" in caplog.text)
    assert len(made) == 1
    pool.give_back(first)
    assert pool.lease(lambda: False) is first


def test_one_more_worker_starts_only_for_a_step_that_has_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", 1000.0)
    starts, made = threading.Event(), []  # type: ignore[var-annotated]
    starts.set()
    pool = made_pool(2, starts, made)
    pool.lease(lambda: False)
    looks = Counter()
    with pytest.raises(LeaseGivenUp):
        pool.lease(lambda: looks() > 3)
    assert len(made) == 1
    monkeypatch.setattr(workers, "PATIENCE_S", 0.2)
    pool.lease(lambda: False)
    assert len(made) == 2
