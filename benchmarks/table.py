"""Interleaved rounds, and a Markdown table of what they say.

Every contestant runs once a round, in a new random order, so that a drifting machine favours none.
Ratios are medians of the ratios within a round.
"""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROUNDS = 7
WARM_UPS = 3

# How its pool is opened, and what is timed with it.
Contestant = tuple[Callable[[], AbstractContextManager[Any]], Callable[[Any], object]]


@dataclass(frozen=True)
class Row:
    """One measured claim; without a limit, only a figure."""

    what: str
    figure: str
    limit: str
    is_met: bool | None


def rounds(
    contestants: Mapping[str, Callable[[], object]], count: int = ROUNDS, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, after a round that does not count."""
    shuffle = random.Random(seed).shuffle
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(count + 1):
        order = list(contestants)
        shuffle(order)
        for name in order:
            gc.collect()
            start_s = perf_counter()
            contestants[name]()
            if number:
                times[name].append(perf_counter() - start_s)
    return times


def alone(
    contestants: Mapping[str, Contestant], count: int = ROUNDS, seed: int = 0
) -> dict[str, list[float]]:
    """As `rounds`, but each contestant's pool lives only while it runs, and only a warm run counts.

    Of pools that idle beside another one, some poll, and all have threads.
    """
    shuffle = random.Random(seed).shuffle
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(count):
        order = list(contestants)
        shuffle(order)
        for name in order:
            opened, action = contestants[name]
            with opened() as pool:
                for _ in range(WARM_UPS):
                    action(pool)
                gc.collect()
                start_s = perf_counter()
                action(pool)
                times[name].append(perf_counter() - start_s)
    return times


def ratio(times: Mapping[str, list[float]], above: str, below: str) -> float:
    return median(a / b for a, b in zip(times[above], times[below], strict=True))


def _figure(value: float, note: str) -> str:
    return f"{value:.3f}{note}" if value < 100 else f"{value:.0f}{note}"


def at_most(what: str, value: float, limit: float, note: str = "") -> Row:
    return Row(what, _figure(value, note), f"<= {round(limit, 3):g}", value <= limit)


def at_least(what: str, value: float, limit: float, note: str = "") -> Row:
    return Row(what, _figure(value, note), f">= {round(limit, 3):g}", value >= limit)


def only(what: str, value: float, note: str = "") -> Row:
    return Row(what, _figure(value, note), "", None)


def put_into(page: Path, session: str, text: str) -> None:
    """Replaces what a session measured last in a page of the docs, between two comments."""
    begin, end = f"<!-- measured by nox -s {session} -->\n", "<!-- end -->\n"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(before + begin + text + rest[rest.index(end) :], encoding="utf-8")


def show(parts: Sequence[Callable[[], Iterator[Row]]]) -> None:
    """Prints the rows of the parts named on the command line, by default of all."""
    wanted = sys.argv[1:]
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}\n")
    print("| what | measured | limit | met |\n| --- | ---: | ---: | --- |")
    for part in parts:
        if not wanted or part.__name__ in wanted:
            for row in part():
                verdict = {True: "yes", False: "NO", None: ""}[row.is_met]
                print(f"| {row.what} | {row.figure} | {row.limit} | {verdict} |", flush=True)
