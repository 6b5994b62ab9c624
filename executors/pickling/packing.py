"""Values on their way between processes: pickled, large ones in files in memory.

::

    value --pack--> small:  bytes, the pickle, copied through sockets
                    large:  a Segment: [pickle | buffer | buffer ...] in a file without a name

A segment is written once, by the process that made the value. Other processes receive its
descriptor and map it privately: readers share its pages, and a reader that writes gets pages of its
own. Nothing has to free it: the kernel does when the last descriptor and mapping are gone, whatever
ended them.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from executors.imports import modules
from executors.pickling.raised import as_value

LARGE_BYTES = 1 << 15  # of a pickle or buffer; a smaller one is faster copied
ALIGNMENT = 64  # of the parts in a segment: a cache line
MOST_DESCRIPTORS = 250  # beside one message; the kernel takes 253

# A packed value in a message: the pickle; the sizes of a segment's parts, while its descriptor goes
# with the message; or these sizes and a copy of the content.
Sizes = tuple[int, ...]
Encoded = bytes | Sizes | list[Any]


class Segment:
    """A pickle and its out-of-band buffers (PEP 574), in a file in memory.

    Attributes:
        sizes: bytes of the pickle and of each buffer.
        fd: the file's descriptor, which this object owns, or -1.
    """

    __slots__ = ("_copy", "fd", "sizes")

    def __init__(self, sizes: Sizes, fd: int, copy: bytes | None = None) -> None:
        self.sizes = sizes
        self.fd = fd
        self._copy = copy

    @classmethod
    def of(cls, parts: Sequence[memoryview]) -> Segment:
        """Writes the parts into a new segment.

        Raises:
            OSError: there is no room, or there are too many open files.
        """
        segment = cls(tuple(part.nbytes for part in parts), _file_in_memory())
        for part, (start, _) in zip(parts, _places(segment.sizes), strict=True):
            while part:
                written = os.pwrite(segment.fd, part, start)
                part, start = part[written:], start + written
        return segment

    def load(self) -> Any:
        """Unpickles; buffers of the result are the segment itself, mapped privately.

        Raises:
            OSError: the segment did not come through: there were too many open files.
        """
        places = _places(self.sizes)
        whole = memoryview(self._room(places[-1][1]))
        pickled, *buffers = (whole[start:end] for start, end in places)
        return pickle.loads(pickled, buffers=buffers)

    def _room(self, size: int) -> mmap.mmap | bytearray:
        if self.fd >= 0:
            try:
                return mmap.mmap(self.fd, size, mmap.MAP_PRIVATE)
            except OSError:
                pass  # too many open files: a mapping holds one
        return bytearray(self.content())

    def content(self) -> bytes:
        """All of it, as bytes."""
        if self._copy is not None:
            return self._copy
        if self.fd < 0:
            raise OSError("there are too many open files; raise the limit with: ulimit -n")
        with open(self.fd, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()

    def copy_and_close(self) -> None:
        """Copies the content into this process and closes the descriptor."""
        self._copy = self.content()
        os.close(self.fd)
        self.fd = -1

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


Packed = bytes | Segment
_SCALARS = frozenset((type(None), bool, float, int, str))
_NAMELESS = frozenset((bytes, bytearray, int, str))


def pack(thing: Any) -> Packed:
    """Pickles by name if every process can import what is named, else by value."""
    if thing.__class__ in _SCALARS and thing.__sizeof__() < LARGE_BYTES // 2:
        return pickle.dumps(thing, 5)  # the rest does the same in five times the time
    try:
        private = () if thing.__class__ in _NAMELESS else modules.private
        return _pickled(_dumps_by_name, thing, private)
    except Exception:
        return pack_by_value(thing)


def dumps(thing: Any, buffers: list[pickle.PickleBuffer] | None = None) -> bytes:
    """As `pack`, but the pickle alone.

    Args:
        buffers: gets all buffers; None leaves them in the pickle.
    """
    callback = None if buffers is None else buffers.append
    try:
        pickled = _dumps_by_name(thing, callback)
        _check_names(pickled, () if thing.__class__ in _NAMELESS else modules.private)
    except Exception:
        if buffers is not None:
            buffers.clear()
        pickled = dumps_by_value(thing, callback)
    return pickled


def pack_ours(thing: Any) -> Packed:
    """Pickles what consists of our own classes and plain data."""
    return _pickled(_dumps_by_name, thing)


def pack_by_value(thing: Any) -> Packed:
    """Pickles so that unpickling needs no `__main__`."""
    return _pickled(dumps_by_value, thing)


def dumps_by_value(thing: Any, buffer_callback: Callable[..., Any] | None = None) -> bytes:
    """Like `pack_by_value`, but all of it as bytes."""
    from executors.pickling import by_value  # 20 ms; most workers never need it

    return by_value.dumps_by_value(thing, as_value, buffer_callback)


class _Pickler(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        return as_value(thing) if isinstance(thing, BaseException) else NotImplemented


def _dumps_by_name(thing: Any, buffer_callback: Callable[..., Any] | None) -> bytes:
    file = io.BytesIO()
    _Pickler(file, 5, buffer_callback=buffer_callback).dump(thing)
    return file.getvalue()


def load(packed: Packed) -> Any:
    """A new copy of the object."""
    return packed.load() if isinstance(packed, Segment) else pickle.loads(packed)


def encode(packed: Packed, descriptors: list[int]) -> Encoded:
    """A packed value as it stands in a message; adds the descriptor to be sent with it, if any."""
    if isinstance(packed, bytes):
        return packed
    if packed.fd < 0 or len(descriptors) >= MOST_DESCRIPTORS:
        return [packed.sizes, packed.content()]
    descriptors.append(packed.fd)
    return packed.sizes


def decode(encoded: Encoded, descriptors: Iterator[int]) -> Packed:
    """The packed value behind its form in a message; a segment owns the next descriptor.

    If a descriptor is missing, because this process has too many, `load` raises.
    """
    if isinstance(encoded, bytes):
        return encoded
    if isinstance(encoded, list):
        sizes, copy = encoded
        return Segment(sizes, -1, copy)
    return Segment(encoded, next(descriptors, -1))


def _pickled(dumps: Callable[..., bytes], thing: Any, private: Sequence[bytes] = ()) -> Packed:
    """Packs a pickle.

    Args:
        private: names that must not be in it.

    Raises:
        PicklingError: one of them is.
    """
    buffers: list[memoryview] = []

    def stays_in_the_pickle(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE_BYTES:
            return True
        buffers.append(raw)
        return False

    pickled = dumps(thing, stays_in_the_pickle)
    _check_names(pickled, private)
    if not buffers and len(pickled) < LARGE_BYTES:
        return pickled
    return Segment.of([memoryview(pickled), *buffers])


def _check_names(pickled: bytes, private: Sequence[bytes]) -> None:
    for name in private:
        if name in pickled:
            raise pickle.PicklingError(f"it may name {name.decode()}")


def _places(sizes: Sizes) -> list[tuple[int, int]]:
    """Start and end of each part."""
    places, end = [], 0
    for size in sizes:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + size
        places.append((start, end))
    return places


def _file_in_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("executors")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
