"""Which numbers of workers to try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from bench import BenchError
from executors import BackendError
from executors.backends.base import checked_workers

WAITING_FACTORS = (2, 4)  # of the CPU count, measured for kernels that wait
MOST_COUNTS = 1000  # numbers in a list
MOST_BENDS = 64  # simulations to find them
BEND = 0.01  # a smaller change is none
MOST_WAITING = 16  # workers per CPU, considered for tasks that wait


def measured_counts(cpus: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to the CPU count; for tasks that wait also 2 and 4 times that."""
    counts = {2**power for power in range(cpus.bit_length()) if 2**power <= cpus} | {cpus}
    if waits:
        counts |= {factor * cpus for factor in WAITING_FACTORS}
    return sorted(counts)


def own_counts(cpus: int, width: int) -> list[int]:
    """Those for tasks that wait, because nothing is known, but not more than can run at once."""
    return sorted({min(count, width) for count in measured_counts(cpus, waits=True)})


def predicted_counts(cpus: int, width: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to twice the CPU count; if tasks wait, up to the width of the graph.

    The width is among them: more tasks can never run at once.
    """
    most = 2 * cpus if not waits else max(2 * cpus, min(width, MOST_WAITING * cpus))
    counts = {2**power for power in range(most.bit_length())} | {cpus, most, min(width, most)}
    return sorted(count for count in counts if count <= most)


def with_bends(
    counts: Sequence[int], seconds: Callable[[int], float], most: int = MOST_BENDS
) -> list[int]:
    """The counts, and between them those from which on a few more workers do not help.

    Args:
        counts: in ascending order.
        seconds: the time with a number of workers; taken to fall as they get more.
        most: how many times it may be called for others than `counts`.
    """
    known = {count: seconds(count) for count in counts}
    most += len(known)

    def helps(low: int, high: int) -> bool:
        return known[high] < known[low] * (1 - BEND)

    def search(low: int, high: int) -> None:
        if high - low > 1 and helps(low, high) and len(known) < most:
            middle = (low + high) // 2
            known[middle] = seconds(middle)
            search(low, middle)
            search(middle, high)

    for low, high in pairwise(counts):
        search(low, high)
    ordered = sorted(known)
    bends = {
        count
        for before, count, after in zip(ordered, ordered[1:], ordered[2:], strict=False)
        if helps(before, count) and not helps(count, after)
    }
    return sorted({*counts, *bends})


def parsed_counts(text: str, option: str = "--max-workers") -> list[int]:
    """The numbers of a text like 1,2,4 or 1-8,16, in ascending order.

    Args:
        option: what it was given for.

    Raises:
        BenchError: one of them is not a whole number of at least 1, there are none, or too many.
    """
    if not text.strip(", "):
        raise BenchError(f"{option} is empty; give numbers like 1,2,4")
    counts: set[int] = set()
    for item in text.split(","):
        first, _, last = item.partition("-")
        try:
            low = checked_workers(int(first))
            high = checked_workers(int(last)) if "-" in item else low
        except (ValueError, BackendError):
            low, high = 1, 0
        if low > high:
            raise BenchError(
                f"{option} must list whole numbers of at least 1 or ranges of them, like 1,2,4"
                f" or 1-8; not {text!r}"
            )
        if high - low > MOST_COUNTS or len(counts) > MOST_COUNTS:
            raise BenchError(f"{option} {text} has more than {MOST_COUNTS:,} numbers")
        counts.update(range(low, high + 1))
    return sorted(counts)
