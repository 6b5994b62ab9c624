"""Values as they travel: small ones as bytes, large ones in memory that nobody has to free."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.pickling.packing import (
    LARGE_BYTES,
    MOST_DESCRIPTORS,
    Segment,
    decode,
    dumps_by_value,
    encode,
    load,
    pack,
)


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize(
    "thing",
    [
        None,
        True,
        1.5,
        10**30,
        "text",
        b"bytes",
        (1, [2, {3}]),
        b"x" * LARGE_BYTES,
        "é" * LARGE_BYTES,
    ],
)
def test_a_packed_thing_is_equal_to_the_thing(thing: Any) -> None:
    assert load(pack(thing)) == thing


def test_only_large_things_go_into_a_segment() -> None:
    assert isinstance(pack(b"x" * (LARGE_BYTES // 2)), bytes)
    assert isinstance(pack(b"x" * LARGE_BYTES), Segment)
    assert isinstance(pack(10 ** (3 * LARGE_BYTES)), Segment)


def test_a_thing_of_no_module_goes_by_value() -> None:
    assert load(pack(lambda: 7))() == 7


def test_arrays_of_all_kinds_come_back() -> None:
    values = np.arange(LARGE_BYTES, dtype=float).reshape(-1, 8)
    for array in (
        values,
        values.T,
        values[::3, ::2],
        values[:0],
        np.asfortranarray(values),
        values > 3,
    ):
        back = load(pack({"array": array, "twice": [array]}))
        assert np.array_equal(back["array"], array)
        assert back["array"] is back["twice"][0]


def test_each_reader_may_write_and_the_others_do_not_see_it() -> None:
    packed = pack(np.zeros(LARGE_BYTES))
    first, second = load(packed), load(packed)
    first[:] = 1
    assert first.flags.writeable
    assert not second.any()
    assert not load(packed).any()


def test_what_could_not_be_written_cannot_be_written_there() -> None:
    array = np.zeros(LARGE_BYTES)
    array.flags.writeable = False
    assert not load(pack(array)).flags.writeable


def test_an_array_outlives_its_segment() -> None:
    packed = pack(np.arange(LARGE_BYTES))
    array = load(packed)
    del packed
    assert array[-1] == LARGE_BYTES - 1


def test_a_segment_is_gone_with_its_last_user() -> None:
    before = descriptors()
    packed = pack(np.zeros(LARGE_BYTES))
    array = load(packed)
    assert descriptors() > before
    del packed, array
    assert descriptors() == before


def sent(packed: Any, most: int | None = None) -> Any:
    """What the receiver of a message makes of a packed thing."""
    numbers: list[int] = []
    body = encode(packed, numbers)
    return decode(body, iter([os.dup(number) for number in numbers[:most]]))


def test_an_encoded_value_is_the_same_thing_elsewhere() -> None:
    array = np.arange(LARGE_BYTES)
    assert np.array_equal(load(sent(pack(array))), array)
    assert load(sent(pack("short"))) == "short"


def test_without_its_descriptor_an_encoded_value_says_what_to_do() -> None:
    with pytest.raises(OSError, match="ulimit -n"):
        load(sent(pack(np.zeros(LARGE_BYTES)), most=0))


def test_more_segments_than_a_message_may_have_are_copied() -> None:
    packed = [pack(np.full(LARGE_BYTES, at)) for at in range(3)]
    numbers = [0] * (MOST_DESCRIPTORS - 1)
    encoded = [encode(thing, numbers) for thing in packed]
    assert len(numbers) == MOST_DESCRIPTORS
    received = iter([os.dup(numbers[-1])])
    back = [decode(one, received) for one in encoded]
    assert [load(one)[0] for one in back] == [0, 1, 2]


def test_a_segment_that_was_copied_needs_no_descriptor() -> None:
    packed = pack(np.arange(LARGE_BYTES))
    assert isinstance(packed, Segment)
    packed.copy_and_close()
    assert packed.fd < 0
    array = load(sent(packed))
    array[0] = 5
    assert load(packed)[0] == 0


def test_as_bytes_everything_is_one_pickle() -> None:
    assert isinstance(dumps_by_value(np.zeros(LARGE_BYTES)), bytes)
    assert isinstance(dumps_by_value(lambda: np.zeros(3)), bytes)
