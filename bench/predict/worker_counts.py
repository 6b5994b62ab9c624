"""Which numbers of workers to try."""

from __future__ import annotations

from bench import BenchError
from executors import BackendError
from executors.backends.base import checked_workers

WAITING_FACTORS = (2, 4)  # of the CPU count, measured for kernels that wait
MOST_WAITING = 16  # workers per CPU, considered for tasks that wait


def measured_counts(cpus: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to the CPU count; for tasks that wait also 2 and 4 times that."""
    counts = {2**power for power in range(cpus.bit_length()) if 2**power <= cpus} | {cpus}
    if waits:
        counts |= {factor * cpus for factor in WAITING_FACTORS}
    return sorted(counts)


def predicted_counts(cpus: int, width: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to twice the CPU count; if tasks wait, up to the width of the graph."""
    most = 2 * cpus if not waits else max(2 * cpus, min(width, MOST_WAITING * cpus))
    counts = {2**power for power in range(most.bit_length())} | {cpus, most}
    return sorted(count for count in counts if count <= most)


def parsed_counts(text: str) -> list[int]:
    """The numbers of a text like 1,2,4, in ascending order.

    Raises:
        BenchError: one of them is not a whole number of at least 1, or there are none.
    """
    numbers = [item.strip() for item in text.split(",") if item.strip()]
    if not numbers:
        raise BenchError("--max-workers is empty; give numbers like 1,2,4")
    try:
        return sorted({checked_workers(int(number)) for number in numbers})
    except (ValueError, BackendError):
        raise BenchError(
            f"--max-workers must list whole numbers of at least 1, like 1,2,4; not {text!r}"
        ) from None
