"""Numbers of workers to try."""

from __future__ import annotations

import pytest

from bench import BenchError
from bench.predict.worker_counts import measured_counts, parsed_counts, predicted_counts


@pytest.mark.parametrize(
    ("cpus", "waits", "counts"),
    [
        (1, False, [1]),
        (2, False, [1, 2]),
        (2, True, [1, 2, 4, 8]),
        (6, False, [1, 2, 4, 6]),
        (6, True, [1, 2, 4, 6, 12, 24]),
        (8, False, [1, 2, 4, 8]),
    ],
)
def test_measured_are_powers_of_two_and_the_cpu_count(
    cpus: int, waits: bool, counts: list[int]
) -> None:
    assert measured_counts(cpus, waits) == counts


def test_predicted_are_more_for_tasks_that_wait() -> None:
    assert predicted_counts(4, 100, waits=False) == [1, 2, 4, 8]
    assert predicted_counts(6, 100, waits=False) == [1, 2, 4, 6, 8, 12]
    assert predicted_counts(2, 11, waits=True) == [1, 2, 4, 8, 11]
    assert predicted_counts(2, 1000, waits=True) == [1, 2, 4, 8, 16, 32]


def test_a_text_has_numbers_of_at_least_one() -> None:
    assert parsed_counts("4, 1,2,4") == [1, 2, 4]
    for text in ("0", "2,-1", "two", "1.5"):
        with pytest.raises(BenchError, match="whole numbers of at least 1"):
            parsed_counts(text)
    with pytest.raises(BenchError, match="--max-workers is empty"):
        parsed_counts(" , ")
