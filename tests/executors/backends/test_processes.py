"""What only worker processes can do wrong: die, refuse to pickle, outlive their parent."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    BackendError,
    Graph,
    NotPicklable,
    RemoteError,
    Status,
    Task,
    TaskStopped,
    TaskTimeout,
    WorkerDied,
    load_backend,
    run,
)
from executors.backends.processes import Processes
from executors.backends.workers import pool as module
from executors.cpus import has_interpreter_lock


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2) as backend:
        yield backend


def outcome(pool: Processes, action: Any, **options: Any) -> BaseException | None:
    """The error of one task, run beside others that must not suffer."""
    others = [Task(f"other{index}", lambda: time.sleep(0.001)) for index in range(20)]
    graph = Graph([Task("bad", action, **options), *others])
    report = run(graph, pool, policy=CONTINUE_ON_FAILURE)
    assert report.counts[Status.SUCCEEDED] == 20 + (report.tasks["bad"].error is None)
    return report.tasks["bad"].error


def test_a_killed_worker_fails_only_its_task(pool: Processes) -> None:
    error = outcome(pool, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert isinstance(error, WorkerDied)
    assert "task 'bad'" in str(error)
    assert "process-" in str(error)
    assert "SIGKILL" in str(error)


def test_an_exit_of_the_worker_is_named_with_its_code(pool: Processes) -> None:
    error = outcome(pool, lambda: os._exit(7))
    assert isinstance(error, WorkerDied)
    assert "exited with code 7" in str(error)


@pytest.mark.skipif(
    not has_interpreter_lock(), reason="the allocator of free-threaded builds has reserved enough"
)
def test_an_argument_that_does_not_fit_into_memory_fails_its_reader() -> None:
    """The reader's worker has put a limit on itself."""

    def limit(_: bytes) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))

    graph = Graph(
        [
            Task("make", lambda: b"x" * 2**28),
            Task("limit", limit, needs=("make",)),
            Task("read", lambda data, _: len(data), needs=("make", "limit")),
        ]
    )
    with Processes(1) as small:
        report = run(graph, small)
    assert isinstance(report.tasks["read"].error, NotPicklable)
    assert "the value of 'make'" in str(report.tasks["read"].error)
    assert "MemoryError" in str(report.tasks["read"].error)


@pytest.mark.parametrize("what", ["sys.stdout = None", "sys.stdout.close()", "os.close(1)"])
def test_an_action_may_spoil_its_standard_output(what: str) -> None:
    with Processes(1) as own:
        assert outcome(own, lambda: exec(f"import os, sys; {what}")) is None


def test_packages_in_the_current_folder_hide_nothing(tmp_path: Path) -> None:
    for name in ("executors", "bench"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not this one')")
    root = str(Path(module.__file__).parents[3])
    script = f"import sys; sys.path[:1] = [{root!r}]\n" + SCRIPT
    assert python("-c", script, cwd=tmp_path).stdout == "True 8\n"


def test_a_setup_larger_than_the_sockets_buffer_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {f"logger{i}" * 100: logging.INFO for i in range(2_000)}
    monkeypatch.setattr(module, "levels", lambda: levels)
    with Processes(1) as pool:
        assert run(Graph([Task("t", lambda: 1)]), pool).values == {"t": 1}


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Takes no note."""

    why: str


class Exits:
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


def raising(error: BaseException) -> Any:
    def action() -> None:
        raise error

    return action


class NoRepr:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self) -> None:
        """Nothing."""

    def __repr__(self) -> str:
        raise ValueError


@pytest.mark.parametrize("action", [raising(Frozen("x")), Exits, NoRepr()])
def test_odd_objects_fail_their_own_task_only(pool: Processes, action: Any) -> None:
    assert isinstance(outcome(pool, action), (Frozen, NotPicklable))


def test_equal_actions_of_two_tasks_share_nothing(pool: Processes) -> None:
    def grow(box: list[int]) -> int:
        box.append(1)
        return len(box)

    graph = Graph([Task(f"t{i}", functools.partial(grow, [])) for i in range(6)])
    assert set(run(graph, pool).values.values()) == {1}


def test_a_forked_child_of_the_program_does_not_keep_workers_alive(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os, time
        from executors import load_backend
        backend = load_backend("processes", 2).__enter__()
        print(*(worker.body.pid for worker in backend._pool.workers.values()), flush=True)
        if os.fork() == 0:
            os.close(1)
            time.sleep(60)
            os._exit(0)
        time.sleep(60)
    """)
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    children: list[psutil.Process] = []
    give_up_s = time.monotonic() + 30
    while len(children) < 3 and time.monotonic() < give_up_s:
        children = psutil.Process(parent.pid).children()
    time.sleep(0.2)
    parent.kill()
    parent.communicate()
    assert_ended(pids)
    for child in children:
        if child.pid not in pids:
            child.kill()


def test_an_action_changes_only_its_own_copy(pool: Processes) -> None:
    def counter() -> Any:
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return calls

        return count

    action = counter()
    for _ in range(3):
        report = run(Graph([Task(f"t{i}", action) for i in range(4)]), pool)
        assert set(report.values.values()) == {1}


def test_a_task_whose_worker_died_is_retried(pool: Processes, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")

    def dies_once() -> int:
        if not os.path.exists(mark):  # noqa: PTH110
            open(mark, "w").close()  # noqa: PTH123
            os.kill(os.getpid(), signal.SIGKILL)
        return 5

    report = run(Graph([Task("t", dies_once, retries=1)]), pool)
    assert report.values == {"t": 5}
    assert isinstance(report.tasks["t"].attempts[0].error, WorkerDied)


def test_a_worker_that_is_killed_while_idle_is_replaced_unnoticed() -> None:
    with Processes(2) as pool:
        for worker in list(pool._pool.workers.values()):
            os.kill(worker.body.pid, signal.SIGKILL)
        report = run(Graph([Task(f"t{i}", lambda: os.getpid()) for i in range(8)]), pool)
        assert report.succeeded
        assert all(len(record.attempts) == 1 for record in report.tasks.values())


def nap(value: int) -> Any:
    def action() -> int:
        time.sleep(0.002)
        return value

    return action


def test_workers_killed_at_random_fail_only_what_they_ran() -> None:
    """A killer beside the run; every task has an outcome, and it is the right one."""
    graph = Graph([Task(f"t{i}", nap(i), retries=50) for i in range(300)])
    with Processes(3) as pool:
        over = threading.Event()
        moments = random.Random(3)

        def kill() -> None:
            for _ in range(40):
                if over.wait(0.03):
                    return
                ready = [worker for worker in list(pool._pool.workers.values()) if worker.is_ready]
                for worker in moments.sample(ready, min(1, len(ready))):
                    try:
                        os.kill(worker.body.pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            report = run(graph, pool, policy=CONTINUE_ON_FAILURE)
        finally:
            over.set()
            killer.join()
    assert report.values == {f"t{i}": i for i in range(300)}


def test_a_timeout_kills_the_worker_and_what_it_started(pool: Processes, tmp_path: Path) -> None:
    path = tmp_path / "pid"

    def starts_a_child() -> None:
        child = subprocess.Popen(["sleep", "60"])
        path.write_text(str(child.pid))
        child.wait()

    assert isinstance(outcome(pool, starts_a_child, timeout_s=0.5), TaskTimeout)
    assert_ended([int(path.read_text())])


def test_a_stopped_worker_process_is_ended_by_the_timeout(pool: Processes) -> None:
    error = outcome(pool, lambda: os.kill(os.getpid(), signal.SIGSTOP), timeout_s=0.3)
    assert isinstance(error, TaskTimeout)


def test_fail_fast_kills_what_runs(pool: Processes) -> None:
    def fail() -> None:
        time.sleep(0.2)
        raise ValueError

    report = run(Graph([Task("long", lambda: time.sleep(60)), Task("fail", fail)]), pool)
    assert report.makespan_s < 30
    assert isinstance(report.tasks["long"].error, TaskStopped)
    assert report.tasks["long"].status is Status.STOPPED


def test_the_pool_is_whole_again_after_a_stop(pool: Processes) -> None:
    test_fail_fast_kills_what_runs(pool)
    give_up_s = time.monotonic() + 30
    workers: set[str] = set()
    while len(workers) < 2 and time.monotonic() < give_up_s:
        report = run(Graph([Task(f"t{i}", lambda: time.sleep(0.02)) for i in range(4)]), pool)
        workers |= {record.attempts[0].worker for record in report.tasks.values()}
    assert len(workers) == 2


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (lambda: threading.Lock(), "its value, of type lock, cannot be pickled"),
        (lambda: sys._getframe(), "its value, of type frame"),
    ],
)
def test_a_value_that_cannot_be_pickled_says_so(pool: Processes, action: Any, says: str) -> None:
    error = outcome(pool, action)
    assert isinstance(error, NotPicklable)
    assert "task 'bad'" in str(error)
    assert says in str(error)


def test_an_action_that_cannot_be_pickled_says_so(pool: Processes) -> None:
    lock = threading.Lock()
    error = outcome(pool, lambda: lock)
    assert isinstance(error, NotPicklable)
    assert "its action" in str(error)
    assert "lock" in str(error)


class Unloadable:
    """Pickles, but does not unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


def test_a_kept_value_that_does_not_unpickle_fails_its_task(pool: Processes) -> None:
    error = outcome(pool, Unloadable)
    assert isinstance(error, NotPicklable)
    assert "its value cannot be unpickled" in str(error)


def test_an_argument_that_does_not_unpickle_fails_the_reader(pool: Processes) -> None:
    graph = Graph([Task("make", Unloadable), Task("read", lambda x: x, needs=("make",))])
    report = run(graph, pool)
    assert report.tasks["make"].status is Status.SUCCEEDED
    assert "argument, the value of 'make', cannot be unpickled" in str(report.tasks["read"].error)


class Locked(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}", threading.Lock())


def test_an_exception_that_does_not_unpickle_reaches_the_user_as_text(pool: Processes) -> None:
    def fail() -> None:
        raise Locked(1, 2)

    error = outcome(pool, fail)
    assert isinstance(error, RemoteError)
    assert error.type_name.endswith("Locked")
    assert "1 and 2" in str(error)
    assert "cannot be sent" in str(error)


def test_the_traceback_of_the_worker_reaches_the_user(pool: Processes) -> None:
    def inner() -> None:
        raise ValueError("deep")

    error = outcome(pool, lambda: inner())
    assert isinstance(error, ValueError)
    (note,) = error.__notes__
    assert "in inner" in note
    assert "process-" in note
    assert "_attempt" not in note  # a frame of the worker


def test_an_exception_that_cannot_be_printed_does_no_harm(pool: Processes) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail() -> None:
        raise Mute

    assert type(outcome(pool, fail)).__name__ in ("Mute", "RemoteError")


def test_log_records_come_from_every_worker_with_their_levels(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="chatty")

    def log() -> None:
        logging.getLogger("chatty").debug("told")
        logging.getLogger("quiet").debug("not told")

    with Processes(2) as pool:
        run(Graph([Task(f"t{i}", log) for i in range(6)]), pool)
    assert [record.getMessage() for record in caplog.records] == ["told"] * 6


def test_workers_that_do_not_start_are_an_error_not_a_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = psutil.Process().children()
    with pytest.raises(BackendError, match=r"died at start-up.*exited with code 9"):
        Processes(2).open()
    assert psutil.Process().children() == before


def test_more_workers_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(BackendError, match="use fewer workers"):
        load_backend("processes", 100_000_000)


def test_a_worker_that_hangs_at_its_start_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0.3)
    with pytest.raises(BackendError, match="not ready after"):
        Processes(1).open()


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


SCRIPT = textwrap.dedent("""
    from executors import Graph, Task, load_backend, run
    class Point:
        def __init__(self, x):
            self.x = x
    def double(point):
        return Point(2 * point.x)
    graph = Graph([Task("a", lambda: Point(4)), Task("b", double, needs=("a",))])
    value = run(graph, load_backend("processes", 2)).values["b"]
    print(type(value) is Point, value.x)
""")


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = python(str(tmp_path / "script.py"), cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("True 8\n", "")


def test_python_c_and_standard_input_work() -> None:
    assert python("-c", SCRIPT).stdout == "True 8\n"
    assert python("-", input=SCRIPT).stdout == "True 8\n"


def test_modules_beside_the_script_can_be_imported_by_workers(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def add(x): return x + 1")
    script = SCRIPT.replace("class Point", "import helper\nclass Point").replace(
        "2 * point.x", "helper.add(point.x)"
    )
    (tmp_path / "script.py").write_text(script)
    assert python(str(tmp_path / "script.py"), cwd="/").stdout == "True 5\n"


def test_actions_find_paths_arguments_and_environment_of_the_program(
    pool: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def look() -> tuple[list[str], list[str], str | None]:
        return sys.path, sys.argv, os.environ.get("PYTHONPATH")

    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "argv", ["program", "--option", "a b\n"])
    for mine in (None, str(tmp_path)):
        if mine is None:
            monkeypatch.delenv("PYTHONPATH", raising=False)
        else:
            monkeypatch.setenv("PYTHONPATH", mine)
        report = run(Graph([Task("look", look)]), Processes(1))
        assert report.values["look"] == (sys.path, sys.argv, mine)


def test_what_actions_print_comes_out(tmp_path: Path) -> None:
    done = python(
        "-c",
        "from executors import *\n"
        "import os\n"
        "def die(): print('last words', flush=True); os._exit(1)\n"
        "graph = Graph([Task('a', lambda: print('hello')), Task('b', die, needs=('a',))])\n"
        "graph = Graph([Task('a', lambda: print('hello')), Task('b', lambda _: die(), ('a',))])\n"
        "run(graph, load_backend('processes', 1))",
    )
    assert done.stdout == "hello\nlast words\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers see it by a thread")
def test_workers_and_their_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    """The worker holds the GIL and has a child; the parent gets SIGKILL."""
    script = textwrap.dedent(f"""
        import os, subprocess
        from executors import Graph, Task, load_backend, run
        def busy():
            child = subprocess.Popen(["sleep", "60"])
            with open({str(tmp_path / "new")!r}, "w") as file:
                file.write(f"{{os.getpid()}} {{child.pid}}")
            os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "pids")!r})
            while True:
                pass
        run(Graph([Task("busy", busy)]), load_backend("processes", 1))
    """)
    parent = subprocess.Popen([sys.executable, "-c", script])
    give_up_s = time.monotonic() + 60
    while not (tmp_path / "pids").exists() and time.monotonic() < give_up_s:
        time.sleep(0.01)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    parent.kill()
    parent.wait()
    assert_ended(pids)


def assert_ended(pids: list[int]) -> None:
    give_up_s = time.monotonic() + 30
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < give_up_s:
        time.sleep(0.01)
    assert not [pid for pid in pids if _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_backend_that_was_not_entered_is_entered_for_the_run() -> None:
    before = psutil.Process().children()
    report = run(Graph([Task("t", os.getpid)]), load_backend("processes", 1))
    assert report.values["t"] != os.getpid()
    assert psutil.Process().children() == before
