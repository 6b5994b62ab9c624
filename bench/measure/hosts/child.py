"""A process of another Python, which stays for all of a run and measures on request."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Pipe
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import cloudpickle

from bench import BenchError
from bench.measure.hosts.choice import Interpreter
from bench.measure.hosts.here import GraphKey, Options, Sampling, TimedRun
from bench.measure.hosts.program import send
from bench.measure.trial import Trial
from bench.results.case import Case
from bench.workloads.kernels import SizedKernel, Work
from bench.workloads.own_graphs import OWN_TASKS, OwnGraph
from executors import BackendError, Graph, Observer
from executors.imports.interpreter import other_command

LAST_WORDS_S = 10.0  # to end the workers of a pool


class Child:
    """A process of another Python that has the methods of `Here`; a context manager.

    Raises:
        BenchError: names the Python and what went wrong there.
    """

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self._is_busy = False
        self._known: set[GraphKey] = set()
        self._sampler: Any = None
        self._progress: Callable[[str], object] = lambda step: None

    def __enter__(self) -> Self:
        self._connection, theirs = Pipe()
        reader, self._lifeline = os.pipe()
        self._packages = TemporaryDirectory(prefix="bench-python-")
        shared = Path(self._packages.name, cloudpickle.__name__)
        shared.symlink_to(Path(cloudpickle.__file__).parent)
        command = other_command(
            self.interpreter.executable,
            [self._packages.name, *self.interpreter.path],  # theirs may be an old one
            "bench.measure.hosts.program",
            *(reader, theirs.fileno()),
        )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[reader, theirs.fileno()],
                process_group=0,  # so that Ctrl-C in the terminal does not reach it
            )
        except BaseException:
            self._connection.close()
            os.close(self._lifeline)
            self._packages.cleanup()
            raise
        finally:
            os.close(reader)
            theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()  # it leaves when it is between two requests
        if self._is_busy:
            self._process.terminate()
        self._end()
        os.close(self._lifeline)
        self._packages.cleanup()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def _end(self) -> None:
        """Waits until it has ended its workers and itself; kills it if that takes too long."""
        try:
            self._process.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _call(self, method: str, *arguments: object) -> Any:
        self._is_busy = True
        try:
            send(self._connection, (method, arguments))
            while True:
                kind, *content = self._connection.recv()
                if kind != "ask":
                    break
                send(self._connection, self._asked(*content))
        except (EOFError, OSError):
            raise BenchError(
                f"Python {self.interpreter.label} {self._last_word()}; what was measured is kept"
            ) from None
        self._is_busy = False
        if kind == "value":
            return content[0]
        error = BackendError if kind == "refused" else BenchError
        raise error(f"Python {self.interpreter.label}: {content[0]}")

    def _asked(self, what: str, *arguments: Any) -> object:
        """Does what the process asks for; its answer."""
        try:
            if what == "begin":
                return self._sampler.begin(*arguments)
            if what == "end":
                return self._sampler.end()
            self._progress(*arguments)
            return None
        except BenchError as error:
            return error

    def _last_word(self) -> str:
        self._end()
        code = self._process.returncode
        if code is not None and code < 0:
            return f"was killed ({signal.Signals(-code).name})"
        return f"has ended (exit code {code})"

    # -- what a host does -------------------------------------------------------------------------

    def unavailable(self) -> dict[str, str | None]:
        """For each backend, why it cannot be used there, or None."""
        reasons: dict[str, str | None] = self._call("unavailable")
        return reasons

    def lock_state(self) -> tuple[str, list[str]] | None:
        state: tuple[str, list[str]] | None = self._call("lock_state")
        return state

    def load(self, spec: str) -> OwnGraph:
        own: OwnGraph = self._call("load", spec)
        self._known.add((own.name, OWN_TASKS))
        return own

    def add(self, key: GraphKey, graph: Graph) -> None:
        if key not in self._known:
            self._call("add", key, graph)
            self._known.add(key)

    def calibrate(self, kernel: SizedKernel) -> Work:
        work: Work = self._call("calibrate", kernel)
        return work

    def check(self, backend: str, workers: int, options: Options) -> None:
        self._call("check", backend, workers, options)

    def tried(
        self,
        own: OwnGraph,
        cases: Sequence[Case],
        cpus: int,
        options: Mapping[str, Options],
        progress: Callable[[str], object],
    ) -> Trial:
        self._progress = lambda step: progress(f"{step}, Python {self.interpreter.label}")
        trial: Trial = self._call("try_own", own.name, cases, cpus, options)
        return trial

    @contextmanager
    def pool(self, backend: str, workers: int, options: Options) -> Iterator[ChildPool]:
        yield ChildPool(self, self._call("open", backend, workers, options))
        self._call("close")  # not if something failed: then the process ends, and the pool with it

    def timed(self, key: GraphKey, sampler: Sampling) -> TimedRun:
        self._sampler = sampler
        run: TimedRun = self._call("timed", key)
        return run


class ChildPool:
    """The pool that is open in a process of another Python."""

    def __init__(self, child: Child, start_s: float) -> None:
        self._child = child
        self.start_s = start_s

    def warm_up(self, works: Collection[Work]) -> None:
        self._child._call("warm_up", works)

    def side_by_side_s(self, work: Work, times: int, processes: int) -> float:
        return float(self._child._call("side_by_side_s", work, times, processes))

    def first_s(self, key: GraphKey) -> float:
        return float(self._child._call("first_s", key))

    def timed(
        self, key: GraphKey, sampler: Sampling, observers: Sequence[Observer] = ()
    ) -> TimedRun:
        return self._child.timed(key, sampler)
