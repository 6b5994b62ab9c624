"""Threads for a long time: random graphs, 100,000-task stencils, cancellation, timeouts.

Meant for free-threaded builds, where nothing takes turns unless the code says so; it passes on
every Python. `SOAK_MINUTES` says for how long (default: half a minute).
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from executors import Graph, RunReport, Status, Task, TaskTimeout, load_backend, run
from executors.core.policy import POLICIES
from tests.contract.model import Plan, check, graph_of

pytestmark = pytest.mark.soak

SOAK_S = 60 * float(os.environ.get("SOAK_MINUTES", "0.5"))
STEPS, WIDTH = 1000, 100


def drawn(chance: random.Random) -> list[Plan]:
    plans: list[Plan] = []
    for index in range(chance.randint(1, 40)):
        needs = tuple(chance.choices(range(index), k=chance.randint(0, 3))) if index else ()
        plans.append(
            Plan(
                needs,
                failures=chance.choice([0] * 8 + [1, 2]),
                retries=chance.choice([0, 0, 1, 2]),
                error=chance.choice(["ValueError", "SystemExit", "KeyboardInterrupt"]),
                slots=chance.choice([1, 1, 1, 2, 9]),
                context=chance.choice([None, None, None, 0, 1]),
            )
        )
    return plans


def random_graph(chance: random.Random, workers: int) -> None:
    plans = drawn(chance)
    policy = chance.choice(sorted(POLICIES.values(), key=lambda it: it.name))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        report = run(
            graph_of(plans, Path(name)), "threads", workers=workers, policy=policy, keep="all"
        )
        check(plans, report, policy, workers, Path(name))


def stencil(chance: random.Random, workers: int) -> None:
    """Each value is one more than the largest of its neighbours': all of the last row are STEPS."""
    ran: list[int] = []

    def task(*values: int) -> int:
        ran.append(1)
        return 1 + max(values, default=0)

    graph = Graph(
        Task(
            f"{step},{place}",
            task,
            tuple(
                f"{step - 1},{near}"
                for near in (place - 1, place, place + 1)
                if step and 0 <= near < WIDTH
            ),
        )
        for step in range(STEPS)
        for place in range(WIDTH)
    )
    report = run(graph, "threads", workers=workers)
    assert report.succeeded
    assert len(ran) == STEPS * WIDTH
    assert set(report.values.values()) == {STEPS} and len(report.values) == WIDTH


def cancelled(chance: random.Random, workers: int) -> None:
    """Nothing starts after the run has ended, and everything has a status."""
    ran: Counter[int] = Counter()
    lock = threading.Lock()

    def task(number: int) -> None:
        with lock:
            ran[number] += 1
        time.sleep(0.001)

    graph = Graph(Task(str(number), lambda number=number: task(number)) for number in range(2000))
    event = threading.Event()
    timer = threading.Timer(chance.uniform(0, 0.2), event.set)
    timer.start()
    report = run(graph, "threads", workers=workers, cancel=event)
    timer.join()
    started = sum(bool(record.attempts) for record in report.tasks.values())
    time.sleep(0.01)
    assert started == sum(ran.values()) and set(ran.values()) <= {1}
    _all_have_ended(report)


def _sleep(seconds: float) -> int:
    time.sleep(seconds)
    return 1


def overdue(chance: random.Random, workers: int) -> None:
    """Each task ends once, as a success or with a timeout, however close the two are."""
    limit_s = 0.01
    graph = Graph(
        Task(
            str(number),
            partial(_sleep, chance.uniform(0.6, 1.4) * limit_s),
            timeout_s=limit_s,
        )
        for number in range(60)
    )
    report = run(
        graph, "threads", workers=workers, policy=POLICIES["continue_on_failure"], keep="all"
    )
    for record in report.tasks.values():
        assert len(record.attempts) == 1
        if record.status is Status.FAILED:
            assert isinstance(record.error, TaskTimeout)
        else:
            assert record.status is Status.SUCCEEDED and report.values[record.name] == 1
    _all_have_ended(report)


def _all_have_ended(report: RunReport) -> None:
    assert sum(report.counts.values()) == len(report.tasks)


@pytest.mark.timeout(2 * SOAK_S + 600)
def test_no_outcome_is_wrong() -> None:
    kinds = [random_graph, random_graph, random_graph, cancelled, overdue, stencil]
    ends_s = time.monotonic() + SOAK_S
    counts: Counter[str] = Counter()
    seed = int(os.environ.get("SOAK_SEED", "0"))
    while time.monotonic() < ends_s:
        chance = random.Random(seed)
        kind = kinds[seed % len(kinds)]
        workers = chance.randint(2, 8)
        try:
            kind(chance, workers)
        except BaseException as error:
            error.add_note(f"{kind.__name__}, SOAK_SEED={seed}, {workers} workers")
            raise
        counts[kind.__name__] += 1
        seed += 1
    with load_backend("threads", 2):  # and the threads of all of these have ended
        pass
    assert min(counts[kind.__name__] for kind in kinds) >= 1
    Path(os.environ.get("SOAK_LOG", os.devnull)).write_text(f"{dict(counts)}\n")
