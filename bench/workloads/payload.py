"""What a task hands on to those that need it: a value of a chosen size, which they check."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bench import BenchError

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
ARRAY = "array:"
SIGN = 0x5A  # each byte of a value
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kMG]?B|[KMG]iB)")
MARK = "+"  # between the kernel and the payload in the text of a case


@dataclass(frozen=True, slots=True)
class Payload:
    """A value of a size.

    Attributes:
        size: in bytes; 0 for no value at all.
        is_array: a numpy array of bytes instead of `bytes`.
    """

    size: int = 0
    is_array: bool = False

    @property
    def text(self) -> str:
        """As on the command line; 0 for none."""
        return (ARRAY if self.is_array else "") + size_text(self.size)

    @property
    def words(self) -> str:
        """In a sentence: values of 1 kB, arrays of 20 MB."""
        size = re.sub(r"([A-Za-z]+)$", r" \1", size_text(self.size))
        return f"{'arrays' if self.is_array else 'values'} of {size}"

    def make(self) -> Any:
        """A new value; None for size 0."""
        if not self.size:
            return None
        if not self.is_array:
            return bytes((SIGN,)) * self.size
        import numpy as np

        return np.full(self.size, SIGN, np.uint8)

    def check(self, value: Any) -> None:
        """Looks at the size, and at both ends.

        Raises:
            BenchError: it is not what a task has handed on.
        """
        if not self.size:
            return
        if len(value) != self.size or value[0] != SIGN or value[-1] != SIGN:
            raise BenchError(f"a value of {self.text} arrived changed, with {len(value)} bytes")


NOTHING = Payload()


def size_text(size: int) -> str:
    """Exactly: 0, 500B, 1kB, 100MB."""
    for unit in ("GB", "MB", "kB"):
        text = f"{size / UNITS[unit]:g}"
        if size >= UNITS[unit] and round(float(text) * UNITS[unit]) == size and "e" not in text:
            return text + unit
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return f"{size}B" if size else "0"


def parsed(text: str) -> Payload:
    """The payload of a text like 0, 1kB or array:100MB.

    Raises:
        BenchError: it is none.
    """
    is_array = text.startswith(ARRAY)
    plain = text.removeprefix(ARRAY)
    if plain == "0":
        return Payload(0)
    match = _SIZE.fullmatch(plain)
    size = round(float(match[1]) * UNITS[match[2]]) if match else 0
    if not size:
        raise BenchError(
            f"--payload must be sizes like 0,1kB,1MB,array:100MB, not {text!r}; units:"
            f" {', '.join(UNITS)}"
        )
    return Payload(size, is_array)


def split(kernel: str) -> tuple[str, Payload]:
    """The kernel of a case's text, and its payload."""
    plain, mark, text = kernel.partition(MARK)
    return (plain, parsed(text)) if mark else (kernel, NOTHING)
