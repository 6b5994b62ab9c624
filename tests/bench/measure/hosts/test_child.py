"""A process of another Python: measures what this one would, and ends with it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench import BenchError
from bench.machine.sampler import Sampler
from bench.measure.hosts.child import Child
from bench.measure.hosts.choice import examined
from bench.workloads.kernels import Work, sized
from executors import BackendError, Graph, Task

KEY = "pair", "noop"


@pytest.fixture
def child() -> Iterator[Child]:
    with Child(examined(sys.executable)) as one:
        yield one
    assert one.has_ended


def test_it_runs_graphs_on_its_pools(child: Child) -> None:
    child.add(KEY, Graph([Task("a", Work("sleep", 0.02)), Task("b", Work("noop", 0), ("a",))]))
    with Sampler() as sampler, child.pool("processes", 2, {}) as pool:
        assert pool.start_s > 0
        pool.warm_up([Work("noop", 0)])
        assert pool.first_s(KEY) >= 0.02
        began_s = time.monotonic()
        run = pool.timed(KEY, sampler)
    assert began_s <= run.start_s <= run.report.started_s  # both clocks are the same
    assert list(run.report.tasks) == ["a", "b"]
    assert run.report.makespan_s >= 0.02
    assert run.report.backend == "processes"


def test_the_sample_is_that_of_its_processes_and_not_of_this_one(child: Child) -> None:
    busy = child.calibrate(sized("python-loop:200ms"))
    child.add(KEY, Graph([Task("a", busy)]))
    with Sampler() as sampler, child.pool("threads", 1, {}) as pool:
        spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            sample = pool.timed(KEY, sampler).sample
        finally:
            spin.kill()
            spin.wait()
    used = psutil.Process(child.pid)
    assert 0 < sample.cpu_s <= sum(used.cpu_times()[:2])
    assert sample.memory_bytes < used.memory_info().rss + 20_000_000


def test_what_fails_there_says_where(child: Child, tmp_path: Path) -> None:
    name = f"Python {child.interpreter.label}"
    with pytest.raises(BackendError, match=rf"{name}: unknown backend 'nothing'"):
        child.check("nothing", 2, {})
    with pytest.raises(BenchError, match=rf"{name}: .*No module"):
        child.load("no_such_module:graph")
    child.add(KEY, Graph([Task("bad", int, timeout_s=60), Task("worse", ord, ("bad",))]))
    with Sampler() as sampler, child.pool("threads", 1, {}) as pool:
        with pytest.raises(BenchError, match=rf"(?s){name}: threads: .*'worse'.*TypeError"):
            pool.timed(KEY, sampler)
        assert child.calibrate(sized("sleep:5ms")).units == 0.005  # it answers the next request


def test_a_child_that_is_killed_is_named_and_its_workers_end(child: Child) -> None:
    child.add(KEY, Graph([Task("a", Work("sleep", 60))]))
    with (
        Sampler() as sampler,
        pytest.raises(BenchError) as raised,
        child.pool("processes", 2, {}) as pool,
    ):
        processes = psutil.Process(child.pid).children(recursive=True)
        assert len(processes) >= 2
        os.kill(child.pid, signal.SIGKILL)
        pool.timed(KEY, sampler)
    assert f"Python {child.interpreter.label} was killed (SIGKILL)" in str(raised.value)
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


def test_the_error_of_a_child_that_has_ended_can_be_collected(child: Child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    while not child.has_ended:
        time.sleep(0.01)
    with pytest.raises(BenchError, match="was killed") as raised:
        child.unavailable()
    broken = raised.value.__context__
    assert isinstance(broken, BrokenPipeError)
    broken.args = (broken,)  # a cycle
    del broken, raised
    gc.collect()  # if Python complains meanwhile, pytest fails the test


PARENT = """
import sys
from bench.measure.hosts.child import Child
from bench.measure.hosts.choice import examined
with Child(examined(sys.executable)) as child:
    with child.pool("processes", 2, {}):
        print(child.pid, flush=True)
        sys.stdin.read()
"""


def test_it_ends_with_its_parent_however_that_ends() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    family = [child, *child.children(recursive=True)]
    assert len(family) >= 3
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


def test_an_interrupt_leaves_no_process_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            Sampler() as sampler,
            Child(examined(sys.executable)) as child,
            child.pool("processes", 1, {}) as pool,
        ):
            child.add(KEY, Graph([Task("a", Work("sleep", 60))]))
            family = psutil.Process(child.pid).children(recursive=True)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            pool.timed(KEY, sampler)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert child.has_ended
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert capfd.readouterr() == ("", "")


def test_own_graphs_stay_there_and_only_their_names_come_back(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_graph.py").write_text(
        "from executors import Graph, Task\n"
        "def where():\n    import sys\n    return sys.executable\n"
        "def graph():\n    return Graph([Task('a', where), Task('b', str, ['a'])])\n"
    )
    monkeypatch.chdir(tmp_path)
    with Child(examined(sys.executable)) as one:  # started in this folder
        own = one.load("their_graph:graph")
        assert "their_graph" not in sys.modules
        assert [task.name for task in own.graph.tasks] == ["a", "b"]
        assert own.graph.tasks[0].action.__qualname__ == "where"
        with pytest.raises(BenchError, match="where is in another process"):
            own.graph.tasks[0].action()
        with one.pool("threads", 1, {}) as pool:
            assert pool.first_s((own.name, "own tasks")) > 0
