"""What a task does: nothing, wait, hold the GIL, release it, move memory.

A kernel does a number of units of work. `calibrate` finds the number that takes the wanted time on
this machine; the real times of tasks are measured in every run, so this need not be exact.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import repeat
from statistics import median
from typing import Any

from bench import BenchError
from bench.workloads.duration import seconds, typed
from bench.workloads.payload import MARK, NOTHING, Payload
from bench.workloads.registry import Registry
from executors.spelling import instead

DEFAULT_LENGTH_S = 0.02
MIN_SAMPLE_S = 0.005  # a calibration sample lasts at least this long
SAMPLES = 5
MOST_UNITS = 2**40
COMPUTES = 0.9  # share of the time on a CPU from which more workers than CPUs do not help


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kind of work.

    Attributes:
        name: as on the command line.
        summary: one line.
        activity: what its tasks are called in a sentence.
        work: does a number of units.
        cpu: the share of its time in which it keeps a CPU busy; below 0.9, more workers than CPUs
            can help.
        gil: the share of its time in which it holds the interpreter lock.
        unit_s: the length of a unit if it is known beforehand, else None.
        shares: what all tasks of a process use, in words.
    """

    name: str
    summary: str
    activity: str
    work: Callable[[float], object]
    cpu: float = 1.0
    gil: float = 0.0
    unit_s: float | None = None
    shares: str = ""

    @property
    def waits(self) -> bool:
        """Whether it leaves its CPU idle, so that more workers than CPUs can help."""
        return self.cpu < COMPUTES


@dataclass(frozen=True, slots=True)
class Work:
    """A task's action: a kernel with a number of units.

    It takes the values of any tasks, which it checks, and returns one of its own.
    """

    kernel: str
    units: float
    payload: Payload = NOTHING

    def __call__(self, *values: object) -> Any:
        for value in values if self.payload.size else ():
            self.payload.check(value)
        KERNELS[self.kernel].work(self.units)
        return self.payload.make()

    def times(self, factor: float) -> Work:
        """`factor` times as much work."""
        if not factor:
            return Work("noop", 0, self.payload)
        return replace(self, units=self.units * factor)


@dataclass(frozen=True, slots=True)
class SizedKernel:
    """A kind of kernel and the wanted length of a task; its text is the spec on the command line.

    For workflows, which give each task's length, it is the mean length, and the text only the
    kernel's name. The kernel `noop` has no length, and is the same for both.
    """

    kind: Kernel
    length_s: float
    is_mean: bool = False
    payload: Payload = NOTHING

    @property
    def text(self) -> str:
        name = self.kind.name
        if self.length_s and not self.is_mean:
            name += f":{typed(self.length_s)}"
        return f"{name}{MARK}{self.payload.text}" if self.payload.size else name

    def fits(self, lengths_s: object | None) -> bool:
        """Whether it is for shapes whose tasks have these lengths; None if they have none."""
        return not self.length_s or self.is_mean == (lengths_s is not None)


def sized(spec: str) -> SizedKernel:
    """The kernel of a spec like `sleep:20ms`; the default length is 20 ms.

    Raises:
        BenchError: an unknown kernel, or a malformed length.
    """
    name, _, text = spec.partition(":")
    if name not in KERNELS:
        raise BenchError(f"unknown kernel {name!r}; {instead(name, KERNELS, 'known kernels')}")
    if name == "noop":
        if text:
            raise BenchError(f"kernel 'noop' does nothing, so it has no length ({text!r})")
        return SizedKernel(KERNELS[name], 0.0)
    return SizedKernel(KERNELS[name], _seconds(spec, text) if text else DEFAULT_LENGTH_S)


def calibrate(wanted: SizedKernel) -> Work:
    """The action that takes about the wanted time, alone on a CPU of this machine."""
    return Work(wanted.kind.name, _units(wanted), wanted.payload)


def _units(wanted: SizedKernel) -> float:
    kernel = wanted.kind
    if not wanted.length_s:
        return 0
    if kernel.unit_s is not None:
        return wanted.length_s / kernel.unit_s
    kernel.work(1)  # imports modules, allocates buffers
    units = 1
    while (spent_s := _timed(kernel, units)) < MIN_SAMPLE_S:
        units *= 2
        if units > MOST_UNITS:
            raise BenchError(
                f"kernel {kernel.name!r} cannot be calibrated: {units:,} units take no time"
            )
    samples = [spent_s, *(_timed(kernel, units) for _ in range(SAMPLES - 1))]
    return max(1, round(units * wanted.length_s / median(samples)))


def _timed(kernel: Kernel, units: int) -> float:
    start_s = time.perf_counter()
    kernel.work(units)
    return time.perf_counter() - start_s


def _seconds(spec: str, text: str) -> float:
    length_s = seconds(text)
    if length_s is None or length_s > 3600:
        raise BenchError(f"kernel {spec!r}: give a length like 500us, 20ms or 1.5s")
    return length_s


def _noop(_: float) -> None:
    """Nothing."""


def _python_cpu(units: float) -> None:
    """Sorts short lists: builtins that hold the GIL, called in a loop.

    A loop of plain arithmetic is up to 20 % faster or slower in one thread than in another one of
    the same process, depending on where the interpreter's stacks lie in memory (see Mytkowicz et
    al. 2009, "Producing wrong data without doing anything obviously wrong"). Work inside builtins
    is not, so differences between backends come from the backends.
    """
    for _ in repeat(None, int(units)):
        sorted(_NUMBERS)


_NUMBERS = tuple(index * 7919 % 128 for index in range(128))


def _python_loop(units: float) -> None:
    """Bytecode only: a generator of random numbers (Lehmer 1951), modulo 65,537.

    Unlike `python-cpu`, it shows what the interpreter itself takes: a specialising interpreter, a
    JIT, or the reference counts of a free-threaded build.
    """
    number = 1
    for _ in repeat(None, int(units)):
        number = number * 75 % 65537


_shared: dict[int, int] = dict.fromkeys(range(128), 0)
_shared_list = [0] * 128


def _python_shared(units: float) -> None:
    """Updates a dict and a list that all tasks of the process share.

    With the interpreter lock, that is nothing special; without it, each update takes a lock of the
    object, which threads on other CPUs have just had.
    """
    for index in range(int(units)):
        key = index & 127
        _shared[key] = index
        _shared_list[key] = index


class _Read:
    """What all tasks of the process read; a plain class, so that its attribute is looked up."""

    def __init__(self) -> None:
        self.number = 75


_read = _Read()


def _python_read(units: float) -> None:
    """Reads an attribute of one object that all tasks of the process share, and changes nothing.

    Without the interpreter lock, threads still meet in the reference counts of what they read.
    """
    number = 1
    for _ in repeat(None, int(units)):
        number = number * _read.number % 65537


def _native_cpu(units: float) -> None:
    """Key derivation in OpenSSL: no memory traffic, and its time is linear in the units."""
    hashlib.pbkdf2_hmac("sha256", b"executor-bench", b"salt", max(1, int(units)))


MEMORY_BYTES = 16_000_000  # larger than the caches of a core
_local = threading.local()


def _memory(units: float) -> None:
    """Copies between two buffers of this thread; a unit is 1/64 of a buffer."""
    import numpy as np

    if not hasattr(_local, "buffers"):
        _local.buffers = np.ones(MEMORY_BYTES, np.uint8), np.zeros(MEMORY_BYTES, np.uint8)
    source, target = _local.buffers
    whole, rest = divmod(int(units), 64)
    for _ in range(whole):
        np.copyto(target, source)
    size = MEMORY_BYTES * rest // 64
    np.copyto(target[:size], source[:size])


def _mixed(units: float) -> None:
    """Waits, then runs Python code, then C code; the three parts take about equally long."""
    time.sleep(units * MIXED_PART_S)
    _python_cpu(units * MIXED_PYTHON)
    _native_cpu(units * MIXED_NATIVE)


MIXED_PART_S = 3e-6  # waiting per unit
MIXED_PYTHON = 1
MIXED_NATIVE = 12


def _accepted(name: str, kernel: object) -> Kernel:
    if not isinstance(kernel, Kernel) or kernel.name != name:
        raise TypeError(f"must be a Kernel with the name {name!r}")
    return kernel


KERNELS = Registry("bench.kernels", "kernel", _accepted)
for _kernel in (
    Kernel("noop", "does nothing, so only the scheduler takes time", "Empty tasks", _noop),
    Kernel(
        "sleep",
        "waits, as for a network or a disk",
        "Waiting tasks",
        time.sleep,
        cpu=0.0,
        unit_s=1.0,
    ),
    Kernel("python-cpu", "Python code: holds the GIL", "Python code", _python_cpu, gil=1.0),
    Kernel("python-loop", "Python bytecode only: holds the GIL", "Loops", _python_loop, gil=1.0),
    Kernel(
        "python-shared",
        "Python code that updates objects which all tasks share: holds the GIL",
        "Updates of shared objects",
        _python_shared,
        gil=1.0,
        shares="a dict and a list",
    ),
    Kernel(
        "python-read",
        "Python code that reads an object which all tasks share: holds the GIL",
        "Reads of a shared object",
        _python_read,
        gil=1.0,
        shares="an object",
    ),
    Kernel("native-cpu", "C code: releases the GIL", "C code", _native_cpu),
    Kernel("memory", "moves memory, releases the GIL", "Copies in memory", _memory),
    Kernel(
        "mixed",
        "one third each of waiting, Python code and C code",
        "Mixed tasks",
        _mixed,
        cpu=2 / 3,
        gil=1 / 3,
    ),
):
    KERNELS[_kernel.name] = _kernel
