"""Values of a size that tasks hand on, and their readers check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench import BenchError
from bench.workloads.kernels import Work, sized
from bench.workloads.payload import Payload, parsed, split


@pytest.mark.parametrize(
    ("text", "size", "is_array", "again"),
    [
        ("0", 0, False, "0"),
        ("1kB", 1000, False, "1kB"),
        ("1.5 MB", 1_500_000, False, "1.5MB"),
        ("1KiB", 1024, False, "1.024kB"),
        ("1MiB", 2**20, False, "1MiB"),
        ("100B", 100, False, "100B"),
        ("array:2GB", 2 * 10**9, True, "array:2GB"),
    ],
)
def test_sizes_are_read_and_written(text: str, size: int, is_array: bool, again: str) -> None:
    assert parsed(text) == Payload(size, is_array)
    assert parsed(text).text == again
    assert parsed(again) == parsed(text)


def test_sizes_in_a_sentence() -> None:
    assert parsed("1kB").words == "values of 1 kB"
    assert parsed("array:20MB").words == "arrays of 20 MB"


@pytest.mark.parametrize("text", ["", "1", "MB", "-1MB", "1mb", "0kB", "array:", "1MB1", "nan MB"])
def test_other_texts_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(BenchError, match="--payload must be sizes like") as raised:
        parsed(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("payload", [Payload(5), Payload(5, is_array=True)])
def test_readers_notice_values_that_have_changed(payload: Payload) -> None:
    value = payload.make()
    payload.check(value)
    damaged: list[Any] = [value[:4], b"\0" + bytes(value)[1:], bytes(value)[:-1] + b"\0"]
    for other in damaged:
        with pytest.raises(BenchError, match="arrived changed"):
            payload.check(other)


def test_a_task_hands_on_a_value_and_checks_those_that_it_gets() -> None:
    work = Work("noop", 0, Payload(3, is_array=True))
    value = work()
    assert isinstance(value, np.ndarray)
    assert len(work(value, value)) == 3
    with pytest.raises(BenchError):
        work(None if value is None else value[:1])
    assert Work("noop", 0)(1, 2) is None


def test_the_text_of_a_kernel_has_its_payload() -> None:
    kernel = sized("sleep:5ms")
    assert kernel.text == "sleep:5ms"
    text = replace(kernel, payload=Payload(10**6)).text
    assert text == "sleep:5ms+1MB"
    assert split(text) == ("sleep:5ms", Payload(10**6))
    assert split("noop") == ("noop", Payload())
