"""Numbers of workers to try."""

from __future__ import annotations

import pytest

from bench import BenchError
from bench.predict.worker_counts import (
    measured_counts,
    parsed_counts,
    predicted_counts,
    with_bends,
)


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
    assert parsed_counts("1-4, 16,3-5") == [1, 2, 3, 4, 5, 16]
    for text in ("0", "2,-1", "two", "1.5", "1,,2", "1,2,", "4-2", "-2", "1-", "1-2-3", "0-4"):
        with pytest.raises(BenchError, match="whole numbers of at least 1"):
            parsed_counts(text)
    with pytest.raises(BenchError, match="--max-workers is empty"):
        parsed_counts(" , ")
    with pytest.raises(BenchError, match="more than 1,000 numbers"):
        parsed_counts("1-1000000000")


def test_the_width_of_the_graph_is_among_the_predicted() -> None:
    assert predicted_counts(2, 3, waits=False) == [1, 2, 3, 4]
    assert predicted_counts(4, 3, waits=True) == [1, 2, 3, 4, 8]


def test_counts_from_which_a_few_more_do_not_help_are_found() -> None:
    """12 equal tasks: 3 workers need 4 rounds, 5 need 3, and 6 to 11 need 2."""
    asked: list[int] = []

    def rounds(workers: int) -> float:
        asked.append(workers)
        return -(-12 // workers)

    assert with_bends([1, 2, 4, 8, 16], rounds) == [1, 2, 4, 6, 8, 12, 16]
    assert len(asked) == len(set(asked)) <= 16
    assert with_bends([1, 2, 4, 8, 16], rounds, most=0) == [1, 2, 4, 8, 16]


def test_of_tasks_one_of_which_is_as_long_as_the_rest_few_workers_are_enough() -> None:
    assert with_bends([1, 2, 4, 8], lambda workers: max(10 / workers, 3.4)) == [1, 2, 3, 4, 8]
