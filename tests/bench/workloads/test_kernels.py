"""Kernels: their text, calibration, and who holds the interpreter lock."""

from __future__ import annotations

import pickle
import threading
import time
from itertools import chain, repeat

import pytest

from bench import BenchError
from bench.workloads import kernels
from bench.workloads.kernels import KERNELS, Kernel, Work, calibrate, sized
from executors.cpus import has_interpreter_lock


@pytest.mark.parametrize(
    ("spec", "text", "length_s"),
    [
        ("sleep:20ms", "sleep:20ms", 0.02),
        ("sleep", "sleep:20ms", 0.02),
        ("python-cpu:1.5s", "python-cpu:1.5s", 1.5),
        ("native-cpu:.5ms", "native-cpu:500us", 0.0005),
        ("memory:50us", "memory:50us", 50e-6),
        ("noop", "noop", 0.0),
    ],
)
def test_a_kernel_has_a_length(spec: str, text: str, length_s: float) -> None:
    assert sized(spec).text == text
    assert sized(spec).length_s == pytest.approx(length_s)
    assert sized(sized(spec).text) == sized(spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("gpu", "unknown kernel 'gpu'; known kernels: noop, sleep"),
        ("sleep:20", "give a length like 500us, 20ms or 1.5s"),
        ("sleep:fast", "give a length"),
        ("sleep:-1ms", "give a length"),
        ("sleep:0ms", "give a length"),
        ("sleep:1e9s", "give a length"),
        ("sleep:99999s", "give a length"),
        ("noop:1ms", "'noop' does nothing"),
    ],
)
def test_what_is_no_kernel_is_refused(spec: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        sized(spec)


@pytest.mark.parametrize("name", KERNELS)
def test_an_action_takes_any_arguments_returns_none_and_pickles(name: str) -> None:
    action = pickle.loads(pickle.dumps(calibrate(sized(name))))
    assert action(1, "two") is None


@pytest.mark.parametrize(
    "name",
    ["python-cpu", "python-loop", "python-shared", "python-read", "native-cpu", "memory", "mixed"],
)
def test_calibrated_units_take_the_wanted_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unit_s = 3e-7
    interrupted = chain([9.0, 1.0], repeat(1.0))  # another program ran in between

    def timed(kernel: Kernel, units: int) -> float:
        assert kernel.name == name
        slower = next(interrupted) if units * unit_s >= kernels.MIN_SAMPLE_S else 1.0
        return units * unit_s * slower

    monkeypatch.setattr(kernels, "_timed", timed)
    for length_s in (0.002, 0.020):
        units = calibrate(sized(f"{name}:{length_s}s")).units
        assert units * unit_s == pytest.approx(length_s, rel=0.001)


def test_sleep_needs_no_calibration() -> None:
    assert calibrate(sized("sleep:5ms")) == Work("sleep", 0.005)


@pytest.mark.parametrize("name", ["native-cpu", "memory"])
def test_native_kernels_release_the_gil(name: str) -> None:
    """While another thread is in one call of the kernel, this one goes on."""
    action = Work(name, calibrate(sized(f"{name}:200ms")).units)
    thread = threading.Thread(target=action)
    began_s = now_s = time.monotonic()
    longest_s = 0.0
    thread.start()
    while thread.is_alive():
        before_s, now_s = now_s, time.monotonic()
        longest_s = max(longest_s, now_s - before_s)
    assert longest_s < 0.7 * (now_s - began_s)  # nearly all of it, if the kernel held the GIL


def _overlap(name: str) -> float:
    """Work done by two threads in a time, over that of one: CPU seconds used a wall second."""
    action = Work(name, calibrate(sized(f"{name}:50ms")).units)

    def repeat() -> None:
        for _ in range(4):
            action()

    threads = [threading.Thread(target=repeat) for _ in range(2)]
    wall_s, cpu_s = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - cpu_s) / (time.monotonic() - wall_s)


@pytest.mark.skipif(not has_interpreter_lock(), reason="this Python has no interpreter lock")
def test_python_cpu_holds_the_gil_and_sleep_uses_no_cpu() -> None:
    assert _overlap("python-cpu") < 1.2
    assert _overlap("sleep") < 0.3
