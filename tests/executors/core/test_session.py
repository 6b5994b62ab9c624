"""Decisions, tested without threads or clocks: the test says what finishes, and when."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors import (
    CONTINUE_ON_FAILURE,
    FAIL_FAST,
    STOP_ON_FAILURE,
    Attempt,
    Call,
    Graph,
    Session,
    Status,
    Task,
    TaskStopped,
)
from executors.core.records import Stop


def task(name: str, *needs: str, **options: Any) -> Task:
    return Task(name, print, needs, **options)


def finish(
    session: Session,
    call: Call,
    now_s: float,
    value: Any = None,
    error: BaseException | None = None,
) -> None:
    session.finish(Attempt(call, "w", now_s, now_s, value, error), now_s)


def take(session: Session, now_s: float = 0.0) -> Call:
    call = session.take(now_s)
    assert call is not None
    session.started(call, now_s)
    return call


def names(session: Session, now_s: float = 0.0) -> list[str]:
    """Takes all that can be taken."""
    taken = []
    while (call := session.take(now_s)) is not None:
        taken.append(call.task.name)
    return taken


def test_the_longest_remaining_path_goes_first() -> None:
    graph = Graph([task("x"), task("a"), task("b", "a"), task("c", "b"), task("y"), task("z", "y")])
    session = Session(graph)
    assert session.startable == 3
    assert names(session) == ["a", "y", "x"]


def test_a_dependent_is_ready_when_its_last_need_has_succeeded() -> None:
    session = Session(Graph([task("a"), task("b"), task("c", "a", "b")]))
    first, second = take(session), take(session)
    finish(session, first, 1.0, "A")
    assert session.startable == 0
    finish(session, second, 2.0, "B")
    call = take(session, 2.0)
    assert [call.values[need] for need in call.needs] == ["A", "B"]
    assert not session.over
    finish(session, call, 3.0)
    assert session.over
    assert session.record(call.rank).ready_s == 2.0


def test_a_second_outcome_of_a_call_is_ignored() -> None:
    session = Session(Graph([task("a", retries=1), task("b", "a")]), policy=CONTINUE_ON_FAILURE)
    first = take(session)
    finish(session, first, 1.0, error=ValueError())
    second = take(session, 1.0)
    finish(session, first, 2.0, "late")
    assert session.running == [second]
    finish(session, second, 3.0, "value")
    finish(session, second, 4.0, error=ValueError("later still"))
    assert session.record(second.rank).status is Status.SUCCEEDED


def test_put_back_counts_no_attempt() -> None:
    session = Session(Graph([task("a")]))
    call = take(session)
    session.put_back(call, 1.0)
    session.put_back(call, 1.0)
    assert session.startable == 1
    again = take(session, 2.0)
    assert again.number == 1
    finish(session, call, 2.5, "of the one put back")
    finish(session, again, 3.0, "value")
    record = session.record(0)
    assert len(record.attempts) == 1
    assert record.taken_s == 2.0


def test_a_delayed_retry_is_ready_at_its_time() -> None:
    session = Session(
        Graph([task("a", retries=2, retry_delay_s=10.0, retry_backoff=3.0)]),
        policy=CONTINUE_ON_FAILURE,
    )
    finish(session, take(session), 1.0, error=ValueError())
    assert (session.wake_at_s, session.startable, session.over) == (11.0, 0, False)
    assert session.take(10.9) is None
    finish(session, take(session, 11.0), 12.0, error=ValueError())
    assert session.wake_at_s == 42.0
    assert session.overdue(42.0) == []
    assert session.startable == 1
    finish(session, take(session, 42.0), 43.0, error=ValueError("last"))
    assert session.over
    record = session.record(0)
    assert [attempt.number for attempt in record.attempts] == [1, 2, 3]
    assert str(record.error) == "last"


def test_deadlines_run_from_the_real_start_and_are_told_once() -> None:
    session = Session(Graph([task("a", timeout_s=5.0), task("b", timeout_s=7.0)]))
    first, second = session.take(0.0), session.take(0.0)
    assert first is not None
    assert second is not None
    assert session.wake_at_s is None
    session.started(first, 100.0)
    session.started(second, 100.0)
    assert session.wake_at_s == 105.0
    assert session.overdue(104.9) == []
    assert session.overdue(105.0) == [first]
    assert session.overdue(106.0) == []
    finish(session, second, 106.5)
    assert session.wake_at_s is None


@pytest.mark.parametrize(
    ("policy", "startable", "stopping"),
    [(FAIL_FAST, 0, True), (STOP_ON_FAILURE, 0, False), (CONTINUE_ON_FAILURE, 1, False)],
)
def test_a_policy_says_what_a_failure_does(policy: Any, startable: int, stopping: bool) -> None:
    graph = Graph([task("a"), task("b", "a"), task("c", "b"), task("x"), task("y"), task("z")])
    session = Session(graph, policy=policy)
    failing, running = take(session), take(session)
    assert (failing.task.name, running.task.name) == ("a", "x")
    finish(session, failing, 1.0, error=ValueError())
    assert session.startable == 2 * startable
    assert session.stopping is stopping
    assert not session.over
    finish(session, running, 2.0)
    rest = names(session, 2.0)
    statuses = {task.name: session.record(graph.rank[task.name]).status for task in graph.tasks}
    assert statuses["a"] is Status.FAILED
    assert statuses["b"] is statuses["c"] is Status.UPSTREAM_FAILED
    assert statuses["x"] is Status.SUCCEEDED
    if startable:
        assert rest == ["y", "z"]
    else:
        assert session.over
        assert statuses["y"] is Status.NOT_STARTED
        assert session.stop_reason == "task 'a' failed"


def test_no_retry_starts_after_a_stop() -> None:
    session = Session(Graph([task("a", retries=5), task("b", retries=5)]), policy=STOP_ON_FAILURE)
    first, second = take(session), take(session)
    finish(session, first, 1.0, error=ValueError())
    session.stop("enough")
    finish(session, second, 2.0, error=ValueError())
    assert session.over
    assert session.stopping
    assert session.wake_at_s is None
    assert [session.record(at).status for at in (0, 1)] == [Status.FAILED] * 2
    assert session.stop_reason == "enough"


@pytest.mark.parametrize(
    ("policy", "heard"),
    [(FAIL_FAST, ["task 'a' failed"]), (STOP_ON_FAILURE, []), (CONTINUE_ON_FAILURE, [])],
)
def test_it_tells_when_running_tasks_are_to_be_stopped(policy: Any, heard: list[str]) -> None:
    events: list[Any] = []
    session = Session(Graph([task("a"), task("b")]), policy=policy, notify=events.append)
    finish(session, take(session), 1.0, error=ValueError())
    assert [event.reason for event in events if isinstance(event, Stop)] == heard
    session.stop("enough")
    session.stop("enough again")
    assert [event.reason for event in events if isinstance(event, Stop)] == (heard or ["enough"])


def test_what_a_stop_ended_is_stopped_not_failed() -> None:
    session = Session(Graph([task("a", retries=5), task("b", "a")]))
    call = take(session)
    session.stop("signal")
    finish(session, call, 1.0, error=TaskStopped("x"))
    assert session.record(0).status is Status.STOPPED
    assert session.record(1).status is Status.NOT_STARTED


class Big:
    """A value that can be watched."""


def test_a_value_lives_until_its_last_reader_has_ended() -> None:
    graph = Graph([task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c")])
    session = Session(graph)
    big = Big()
    watched = weakref.ref(big)
    finish(session, take(session), 1.0, big)
    del big
    first, second = take(session, 1.0), take(session, 1.0)
    finish(session, first, 2.0)
    gc.collect()
    assert watched() is not None
    finish(session, second, 3.0, error=ValueError())
    gc.collect()
    assert watched() is None


def test_a_value_lives_until_a_failed_reader_needs_no_retry() -> None:
    session = Session(
        Graph([task("a"), task("b", "a", retries=1), task("c", "b")]), policy=CONTINUE_ON_FAILURE
    )
    finish(session, take(session), 1.0, "value")
    finish(session, take(session, 1.0), 2.0, error=ValueError())
    assert session.values[0] == "value"
    finish(session, take(session, 2.0), 3.0, error=ValueError())
    assert session.values[0] is None
    assert session.over


def test_a_value_that_nobody_reads_or_keeps_is_dropped_at_once() -> None:
    session = Session(Graph([task("a")]), keep="none")
    finish(session, take(session), 1.0, "value")
    assert session.values == [None]


def test_tasks_that_never_run_do_not_keep_values() -> None:
    graph = Graph([task("a"), task("bad"), task("b", "a", "bad")])
    session = Session(graph, policy=CONTINUE_ON_FAILURE)
    calls = {call.task.name: call for call in (take(session), take(session))}
    finish(session, calls["a"], 1.0, "value")
    finish(session, calls["bad"], 2.0, error=ValueError())
    assert session.values == [None] * 3


# -- slots and contexts ----------------------------------------------------------------------------


def test_slots_are_capped_at_all_workers() -> None:
    session = Session(Graph([task("huge", slots=99), task("small", cost_s=0)]), workers=4)
    assert names(session) == ["huge"]


def test_contexts_do_not_overlap_and_none_overlaps_with_all() -> None:
    graph = Graph(
        [task("a1", context="a"), task("b1", context="b"), task("n"), task("a2", context="a")]
    )
    session = Session(graph, workers=9)
    assert names(session) == ["a1", "n", "a2"]
    assert session.startable == 0
    for call in session.running:
        finish(session, call, 1.0)
    assert names(session, 1.0) == ["b1"]


def test_a_waiting_task_is_passed_by_as_many_as_there_are_workers() -> None:
    """`wide` waits for two free slots while small tasks come and go on the other one."""
    graph = Graph(
        [
            task("first", cost_s=100),
            task("wide", slots=2, cost_s=50),
            *(task(f"small{i}", cost_s=1) for i in range(10)),
        ]
    )
    session = Session(graph, workers=2)
    first = take(session)
    passed = []
    while session.startable:
        call = take(session)
        passed.append(call.task.name)
        finish(session, call, 1.0)
    assert passed == ["small0", "small1"]
    finish(session, first, 2.0)
    assert take(session, 2.0).task.name == "wide"


@st.composite
def mixed_graphs(draw: st.DrawFn) -> Graph:
    tasks = []
    for index in range(draw(st.integers(1, 25))):
        needs = draw(st.lists(st.integers(0, index - 1), max_size=2)) if index else []
        tasks.append(
            task(
                f"t{index}",
                *(f"t{need}" for need in needs),
                slots=draw(st.sampled_from([1, 1, 2, 5])),
                context=draw(st.sampled_from([None, None, "a", "b"])),
                retries=draw(st.sampled_from([0, 0, 2])),
                retry_delay_s=draw(st.sampled_from([0.0, 3.0])),
            )
        )
    return Graph(tasks)


@given(graph=mixed_graphs(), workers=st.integers(1, 4), data=st.data())
def test_whatever_finishes_when_the_rules_hold_and_the_run_ends(
    graph: Graph, workers: int, data: st.DataObject
) -> None:
    """Random interleavings on a virtual clock, checked against the rules themselves."""
    session = Session(graph, workers=workers, policy=CONTINUE_ON_FAILURE, keep="none")
    running: list[Call] = []
    now_s = 0.0
    while not session.over:
        startable = session.startable
        looks = len(running) < workers and (not running or data.draw(st.booleans()))
        call = session.take(now_s) if looks else None
        assert call is not None or not (looks and startable)
        if call is not None:
            session.started(call, now_s)
            running.append(call)
            assert sum(min(call.task.slots, workers) for call in running) <= workers
            contexts = {call.task.context for call in running if call.task.context is not None}
            assert len(contexts) <= 1
            for need in call.needs:
                assert session.record(need).status is Status.SUCCEEDED
        elif running:
            ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
            kind = data.draw(st.sampled_from(["value", "value", "error", "back"]))
            if kind == "back":
                session.put_back(ended, now_s)
            else:
                finish(session, ended, now_s, error=ValueError() if kind == "error" else None)
        else:
            assert session.wake_at_s is not None, "nothing runs, nothing starts, nothing waits"
            now_s = session.wake_at_s
    assert session.running == []
    assert session.values == [None] * len(graph)
    for rank, needs in enumerate(graph.needs):
        record = session.record(rank)
        bad = any(session.record(need).status is not Status.SUCCEEDED for need in needs)
        assert (record.status is Status.UPSTREAM_FAILED) is bad
        if not bad:
            assert record.status in (Status.SUCCEEDED, Status.FAILED)


# -- following ----------------------------------------------------------------------------------


def chain(length: int, **options: Any) -> Graph:
    """::

    t0 -> t1 -> t2 ...
    """
    rest = [task(f"t{at}", f"t{at - 1}", **options) for at in range(1, length)]
    return Graph([task("t0"), *rest])


def followed(session: Session, call: Call, now_s: float = 0.0) -> Call:
    following = session.follow(call, now_s)
    assert following is not None
    return following


def test_a_chain_is_followed_before_its_calls_end() -> None:
    session = Session(chain(3))
    first = take(session)
    second = followed(session, first)
    third = followed(session, second)
    assert [call.task.name for call in (first, second, third)] == ["t0", "t1", "t2"]
    assert session.follow(third, 0.0) is None
    assert session.follow(first, 0.0) is None  # it was followed already
    for at_s, call in enumerate((first, second, third), 1):
        assert not session.over
        finish(session, call, at_s)
    assert session.over
    record = session.record(1)
    assert record.ready_s == record.taken_s == 1.0  # the end of the first, at the worker


def test_a_more_urgent_task_is_not_passed_by_following() -> None:
    tasks = [task("a0"), task("a1", "a0"), task("b0"), task("b1", "b0")]
    session = Session(Graph(tasks))
    first = take(session)
    assert session.follow(first, 0.0) is None  # b0 is ready, and as long a path waits behind it
    second = take(session)
    assert {first.task.name, second.task.name} == {"a0", "b0"}
    assert followed(session, first).task.name in ("a1", "b1")


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (Graph([task("a"), task("b", "a"), task("c", "a")]), "two readers"),
        (Graph([task("a"), task("x"), task("b", "a", "x")]), "two needs"),
        (Graph([task("a"), task("b", "a", "a")]), "twice the same"),
        (chain(2, timeout_s=1.0), "nobody would notice its start"),
        (Graph([task("a"), task("b", "a", slots=2)]), "slots"),
    ],
)
def test_only_what_waits_for_one_call_alone_follows_it(graph: Graph, why: str) -> None:
    session = Session(graph, workers=2)
    assert session.follow(take(session), 0.0) is None, why


def test_nothing_follows_once_the_run_is_stopped() -> None:
    session = Session(chain(2))
    first = take(session)
    session.stop("enough")
    assert session.follow(first, 0.0) is None


def test_a_follower_that_is_put_back_waits_for_its_need() -> None:
    session = Session(chain(2))
    first = take(session)
    session.put_back(followed(session, first), 0.0)
    assert session.take(0.0) is None
    finish(session, first, 1.0)
    assert take(session, 2.0).task.name == "t1"


def test_a_follower_of_a_failed_call_never_starts() -> None:
    session = Session(chain(3), policy=CONTINUE_ON_FAILURE)
    first = take(session)
    second = followed(session, first)
    finish(session, first, 1.0, error=ValueError())
    assert not session.over
    session.put_back(second, 1.0)
    assert session.over
    assert [session.record(rank).status for rank in range(3)] == [
        Status.FAILED,
        Status.UPSTREAM_FAILED,
        Status.UPSTREAM_FAILED,
    ]


def test_the_start_of_an_attempt_is_told_once() -> None:
    events: list[object] = []
    session = Session(Graph([task("t")]), notify=events.append)
    for _ in range(3):
        session.put_back(take(session), 0.0)
    call = take(session)
    finish(session, call, 1.0)
    assert [type(event).__name__ for event in events] == ["Call", "Attempt"]
