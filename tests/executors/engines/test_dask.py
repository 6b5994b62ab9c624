"""dask.distributed: a cluster of its own, and one that was started elsewhere."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    Backend,
    BackendError,
    Call,
    Graph,
    NotPicklable,
    Observer,
    Status,
    Task,
    TaskTimeout,
    WorkerDied,
    load_backend,
    run,
)
from executors.backends import backend_class
from tests.processes import working_children

if (missing := backend_class("dask").unavailable()) is not None:
    pytest.skip(missing, allow_module_level=True)


@pytest.fixture(scope="module")
def own() -> Iterator[Any]:
    with load_backend("dask", 2) as backend:
        yield backend


def state_of_scheduler(backend: Any) -> tuple[int, list[str]]:
    """How many keys it has, and the topics of our events."""

    def read(dask_scheduler: Any) -> tuple[int, list[str]]:
        topics = [name for name in dask_scheduler._broker._topics if "executor-bench" in name]
        return len(dask_scheduler.tasks), topics

    state: tuple[int, list[str]] = backend._connection.client.run_on_scheduler(read)
    return state


def kill_scheduler(backend: Any) -> None:
    backend._connection._cluster._scheduler.process.kill()


def noted(folder: Path, number: int, nap_s: float) -> Callable[[], int]:
    """An action that writes down that it has begun, and where."""

    def action() -> int:
        with (folder / "begun").open("a") as file:
            file.write(f"{number} {os.getpid()}\n")
        time.sleep(nap_s)
        return number

    return action


def begun(folder: Path) -> list[list[int]]:
    file = folder / "begun"
    lines = file.read_text().splitlines() if file.exists() else []
    return [list(map(int, line.split())) for line in lines]


class KillsAWorker(Observer):
    """As soon as a task of that name has been running for a moment."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.killed = ""

    def task_started(self, call: Call) -> None:
        if call.task.name == self.name and not self.killed:
            number = int(self.name[1:])
            ((_, process),) = [line for line in begun(self.folder) if line[0] == number]
            self.killed = call.task.name
            os.kill(process, signal.SIGKILL)


def test_a_killed_worker_fails_only_the_task_that_it_was_running(own: Any, tmp_path: Path) -> None:
    """Six tasks are assigned to it; each action begins once."""
    graph = Graph(Task(f"t{i}", noted(tmp_path, i, 0.5 if i < 2 else 0.0)) for i in range(12))
    killer = KillsAWorker(tmp_path, "t0")
    report = run(graph, own, policy=CONTINUE_ON_FAILURE, observers=[killer])
    assert report.counts == {Status.SUCCEEDED: 11, Status.FAILED: 1}
    assert isinstance(report.tasks["t0"].error, WorkerDied)
    assert sorted(number for number, _ in begun(tmp_path)) == list(range(12))


def test_small_values_outlive_their_worker_and_large_ones_do_not(own: Any, tmp_path: Path) -> None:
    """::

    small0, small1 -> sum      (each is made before its worker is killed)
    large0, large1 -> sizes
    t0                         (whose worker is killed)
    """
    nap = 0.5

    def large() -> bytes:
        return b"x" * 1_000_000

    graph = Graph(
        [
            *(Task(f"small{i}", lambda i=i: i + 1, cost_s=9.0) for i in range(2)),
            *(Task(f"large{i}", large, cost_s=9.0) for i in range(2)),
            *(Task(f"t{i}", noted(tmp_path, i, nap)) for i in range(2)),
            Task("sum", lambda *all_: sum(all_[:2]), ("small0", "small1", "t1")),
            Task("sizes", lambda *all_: len(all_), ("large0", "large1", "t1")),
        ]
    )
    killer = KillsAWorker(tmp_path, "t0")
    report = run(graph, own, policy=CONTINUE_ON_FAILURE, observers=[killer])
    assert isinstance(report.tasks["t0"].error, WorkerDied)
    assert report.values["sum"] == 3
    error = report.tasks["sizes"].error
    if error is not None:  # else both were on the other worker
        assert isinstance(error, WorkerDied)
        assert "was lost with a worker" in str(error)
    assert sorted(number for number, _ in begun(tmp_path)) == [0, 1]


def test_the_end_of_the_scheduler_ends_the_run_with_a_report() -> None:
    with load_backend("dask", 2) as backend:
        graph = Graph(
            [
                *(Task(f"t{i}", lambda: time.sleep(30)) for i in range(4)),
                Task("after", lambda *_: 1, tuple(f"t{i}" for i in range(4))),
            ]
        )

        class Killer(Observer):
            def task_started(self, call: Call) -> None:
                kill_scheduler(backend)

        report = run(graph, backend, policy=CONTINUE_ON_FAILURE, observers=[Killer()])
        assert report.stop_reason == "the scheduler of dask is gone"
        assert report.makespan_s < 20
        failed = [record for record in report.tasks.values() if record.status is Status.FAILED]
        assert failed
        assert all(isinstance(record.error, WorkerDied) for record in failed)
        assert run(Graph([Task("next", lambda: 1)]), backend).values == {"next": 1}


def test_a_value_that_cannot_be_pickled_fails_its_task(own: Any) -> None:
    readers = [Task(f"r{i}", lambda _: time.sleep(0.01), ("lock",)) for i in range(4)]
    graph = Graph([Task("lock", threading.Lock), *readers, Task("other", lambda: 1)])
    report = run(graph, own, policy=CONTINUE_ON_FAILURE)
    error = report.tasks["lock"].error
    assert isinstance(error, NotPicklable)
    assert "'lock'" in str(error)
    assert report.counts == {Status.SUCCEEDED: 1, Status.FAILED: 1, Status.UPSTREAM_FAILED: 4}


def test_an_action_that_cannot_be_pickled_fails_its_task(own: Any) -> None:
    lock = threading.Lock()
    graph = Graph(
        [
            Task("bad", lambda: lock),
            Task("after", lambda _: 1, ("bad",)),
            Task("other", lambda: 1),
        ]
    )
    report = run(graph, own, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["bad"].error, NotPicklable)
    assert report.values == {"other": 1}
    wait_until(lambda: state_of_scheduler(own)[0] == 0)  # the error keeps none


def test_no_key_is_left_behind(own: Any) -> None:
    tasks = [Task(f"t{i}", lambda i=i: bytes(i * 20_000)) for i in range(4)]
    tasks.append(
        Task("all", lambda *them: [len(one) for one in them], tuple(t.name for t in tasks))
    )
    tasks.append(Task("fail", lambda _: 1 / 0, ("t1",), retries=1))
    for keep in ("sinks", "all", "none"):
        report = run(Graph(tasks), own, keep=keep, policy=CONTINUE_ON_FAILURE)
        assert report.counts[Status.SUCCEEDED] == 5
    del report
    wait_until(lambda: state_of_scheduler(own)[0] == 0)


def wait_until(condition: Callable[[], bool]) -> None:
    by_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < by_s
        time.sleep(0.05)


def test_after_a_timeout_the_worker_goes_on(own: Any) -> None:
    slow = [Task(f"slow{i}", lambda: time.sleep(15), timeout_s=0.1) for i in range(2)]
    graph = Graph([*slow, *(Task(f"t{i}", lambda: 1, timeout_s=60.0) for i in range(6))])
    report = run(graph, own, policy=CONTINUE_ON_FAILURE)
    assert all(isinstance(report.tasks[task.name].error, TaskTimeout) for task in slow)
    assert report.counts[Status.SUCCEEDED] == 6
    assert report.makespan_s < 15


def test_a_run_after_one_that_was_stopped_has_all_workers(own: Any) -> None:
    """Tasks that go on after a stop are killed with their workers."""
    cancel = threading.Event()
    timer = threading.Timer(0.3, cancel.set)
    timer.start()
    graph = Graph(Task(f"t{i}", lambda: time.sleep(600)) for i in range(2))
    report = run(graph, own, cancel=cancel)
    timer.join()
    assert report.counts == {Status.STOPPED: 2}
    report = run(Graph(Task(f"n{i}", lambda: 1) for i in range(4)), own)
    assert report.counts == {Status.SUCCEEDED: 4}


def test_values_keep_their_identity_and_class(own: Any) -> None:
    """Readers on the same worker get what was made there; classes come back as the program's."""

    class Mine:
        def __init__(self, number: int) -> None:
            self.number = number

    graph = Graph(
        [
            Task("make", lambda: Mine(3)),
            *(Task(f"r{i}", lambda one: isinstance(one, Mine), ("make",)) for i in range(4)),
        ]
    )
    report = run(graph, own, keep="all")
    assert isinstance(report.values["make"], Mine)
    assert all(report.values[f"r{i}"] for i in range(4))


def test_attempts_have_times_processor_time_and_worker(own: Any) -> None:
    def spin() -> None:
        until_s = time.thread_time() + 0.05
        while time.thread_time() < until_s:
            pass

    report = run(Graph([Task("spin", spin)]), own, measure_cpu=True)
    (attempt,) = report.tasks["spin"].attempts
    assert attempt.worker.startswith("process-")
    assert attempt.cpu_s is not None
    assert attempt.cpu_s == pytest.approx(0.05, rel=0.5)
    assert attempt.cpu_s <= attempt.duration_s
    assert report.started_s <= attempt.started_s <= attempt.ended_s <= report.ended_s


SCRIPT = """
import sys, time
from executors import Graph, Task, load_backend, run

def make():
    return [3]

if {nap}:
    print("ready", flush=True)
backend = load_backend("dask", 2)
with backend:
    if {nap}:
        print(*backend._connection.processes, flush=True)
    double = Task("double", lambda x: (time.sleep({nap}), x * 2)[1], ("make",))
    print(run(Graph([Task("make", make), double]), backend).values, flush=True)
"""


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(nap=0))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "{'double': [3, 3]}\n"
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, -2)])
def test_the_cluster_ends_with_its_program(tmp_path: Path, number: int, code: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(nap=600))
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        workers = [psutil.Process(int(word)) for word in program.stdout.readline().split()]
        assert len(workers) == 2
        below = psutil.Process(program.pid).children(recursive=True)
        time.sleep(0.3)
        os.killpg(program.pid, number)
        assert program.wait(60) == code
    _, alive = psutil.wait_procs(below, 30)
    assert not alive


def test_closing_leaves_no_process_and_no_folder() -> None:
    before = working_children()
    with load_backend("dask", 2) as backend:
        folder = Path(backend._connection._cluster.folder)  # type: ignore[attr-defined]
        assert run(Graph([Task("t", lambda: 1)]), backend).succeeded
        assert len(working_children() - before) == 3
    assert working_children() == before
    assert not folder.exists()


# -- a cluster that was started elsewhere -----------------------------------------------------

HIDES = '''
import sys
from importlib.machinery import PathFinder

class Hides:
    """Nothing is called executors here, unless it arrives."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "executors":
            return None
        spec = PathFinder.find_spec(name, [entry for entry in sys.path if entry.endswith(".zip")])
        if spec is None:
            raise ModuleNotFoundError(name)
        return spec

sys.meta_path.insert(0, Hides)
'''


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two workers, in an environment without our package."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "sitecustomize.py").write_text(HIDES)
    file = folder / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(folder), "DASK_LOGGING__DISTRIBUTED": "error"}
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    commands = [["scheduler", "--host", "127.0.0.1", "--port", "0", *common]]
    worker = ["worker", "--nthreads", "1", "--no-nanny", "--memory-limit", "0", *common]
    commands += [[*worker, "--local-directory", str(folder)]] * 2
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command], env=environment, cwd=folder, stderr=-3
        )
        for command in commands
    ]
    try:
        from distributed import Client

        wait_until(file.exists)
        make: Any = Client  # which has no types
        with make(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            yield client.scheduler.address
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_cluster_without_our_package_runs_everything(address: str) -> None:
    def fail() -> None:
        logging.getLogger("mine").warning("here")
        raise ValueError("no")

    class Mine:
        pass

    graph = Graph(
        [
            Task("where", lambda: sys.modules["executors"].__file__),
            Task("make", Mine),
            *(Task(f"r{i}", lambda one: isinstance(one, Mine), ("make",)) for i in range(4)),
            Task("fail", fail, retries=2),
            Task("slow", lambda: time.sleep(5), timeout_s=0.1),
            Task("large", lambda: bytes(3_000_000)),
            Task("array", lambda: numpy.arange(100_000)),
        ]
    )
    with load_backend("dask", address=address) as backend:
        assert backend.workers == 2
        report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
        assert ".zip/" in report.values["where"]
        assert [report.values[f"r{i}"] for i in range(4)] == [True] * 4
        assert len(report.values["large"]) == 3_000_000
        assert report.values["array"].sum() == sum(range(100_000))
        assert isinstance(report.tasks["fail"].error, ValueError)
        assert len(report.tasks["fail"].attempts) == 3
        assert isinstance(report.tasks["slow"].error, TaskTimeout)
        for record in report.tasks.values():
            for attempt in record.attempts:
                assert report.started_s <= attempt.started_s <= attempt.ended_s <= report.ended_s
        wait_until(lambda: state_of_scheduler(backend)[0] == 0)
    with load_backend("dask", address=address) as backend:
        assert len(state_of_scheduler(backend)[1]) == 1


def test_the_environment_says_where_the_scheduler_is(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    before = working_children()
    with load_backend("dask", 1) as backend:
        assert working_children() == before
        assert run(Graph([Task("t", lambda: 1)]), backend).values == {"t": 1}


def test_processor_time_elsewhere_is_counted(address: str, own: Any) -> None:
    def spin() -> None:
        until_s = time.thread_time() + 0.3
        while time.thread_time() < until_s:
            pass

    with load_backend("dask", address=address) as backend:
        before_s = backend.elsewhere_cpu_s()
        assert run(Graph([Task("spin", spin)]), backend).succeeded
        assert backend.elsewhere_cpu_s() >= before_s + 0.3
    assert own.elsewhere_cpu_s() == 0.0


def test_too_many_workers_for_a_cluster_are_refused(address: str) -> None:
    with (
        pytest.raises(BackendError, match=r"cannot run 7 tasks at once.*1, 1 threads"),
        load_backend("dask", 7, address=address),
    ):
        raise AssertionError("it was entered")


def test_a_worker_that_leaves_is_replaced_by_any_other(address: str, tmp_path: Path) -> None:
    """Of two workers, one takes part; it dies, and the other one goes on."""
    marker = tmp_path / "died"

    def die_once() -> int:
        if not marker.exists():
            marker.touch()
            os._exit(1)
        return 1

    graph = Graph([Task("a", die_once), Task("b", lambda a: a + 1, ("a",))])
    with load_backend("dask", 1, address=address) as backend:
        assert run(graph, backend).values == {"b": 2}
    with load_backend("dask", 1, address=address) as backend:
        assert run(Graph([Task("next", lambda: 1)]), backend).succeeded


def test_what_is_no_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executors.engines.dask.connection.CONNECT_S", 0.2)
    monkeypatch.setattr("executors.engines.dask.connection.PATIENCE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BackendError, match="no scheduler of dask answers"):
            load_backend("dask", address=where)


def test_a_large_action_travels_once_to_each_worker(own: Any) -> None:
    large = numpy.ones(1_000_000)
    graph = Graph(Task(f"t{i}", lambda: float(large.sum())) for i in range(6))
    assert set(run(graph, own).values.values()) == {1_000_000.0}
    wait_until(lambda: state_of_scheduler(own)[0] == 0)


def test_what_has_begun_is_never_reported_as_not_started(tmp_path: Path) -> None:
    """Also if it is too short to be announced when the scheduler dies."""
    with load_backend("dask", 2) as backend:
        graph = Graph(Task(f"t{i}", noted(tmp_path, i, 0.03)) for i in range(60))

        def kill() -> None:
            file = tmp_path / "begun"
            wait_until(lambda: file.exists() and file.read_text().count("\n") >= 10)
            kill_scheduler(backend)

        thread = threading.Thread(target=kill)
        thread.start()
        report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
        thread.join()
    assert report.stop_reason == "the scheduler of dask is gone"
    started = {number for number, _ in begun(tmp_path)}
    for name, record in report.tasks.items():
        if record.status is Status.NOT_STARTED:
            assert int(name[1:]) not in started


def test_an_address_where_nobody_answers_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("executors.engines.dask.connection.CONNECT_S", 0.5)
    for wrong in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(BackendError, match=wrong) as raised:
            load_backend("dask", address=wrong)
        assert "\n" not in str(raised.value)
    assert not caplog.records


def test_dask_is_measured_only_if_it_is_named() -> None:
    kind: type[Backend] = backend_class("dask")
    assert not kind.is_default
    assert not kind.cannot
