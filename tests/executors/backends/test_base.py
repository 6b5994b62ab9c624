"""How an action is run, and the errors that every backend words alike."""

from __future__ import annotations

import pickle
import traceback

import pytest

from executors import Call, Graph, Session, Task
from executors.backends.base import arguments_of, attempt, perform, stopped, timed_out


def divide(x: int, y: int) -> float:
    return x / y


def test_an_action_and_its_arguments_are_enough_to_run_it_anywhere() -> None:
    started_s, ended_s, value, error = perform(divide, [6, 3])
    assert (value, error) == (2.0, None)
    assert started_s <= ended_s
    assert pickle.loads(pickle.dumps(perform)) is perform


def test_whatever_is_raised_is_the_outcome_with_the_actions_frames_only() -> None:
    _, _, value, error = perform(divide, [1, 0])
    assert value is None
    assert isinstance(error, ZeroDivisionError)
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == ["divide"]


def test_an_attempt_takes_the_values_of_the_needs_in_order() -> None:
    graph = Graph([Task("a", int), Task("b", int), Task("c", divide, needs=("b", "a"))])
    values = [0, 0, 0]
    values[graph.rank["a"]], values[graph.rank["b"]] = 2, 8
    rank = graph.rank["c"]
    call = Call(rank, graph.ranked[rank], 1, graph.needs[rank], values)
    assert arguments_of(call) == [8, 2]
    outcome = attempt(call, "here")
    assert (outcome.value, outcome.worker, outcome.task_name) == (4.0, "here", "c")


def test_timeouts_and_stops_name_the_task_and_what_became_of_it() -> None:
    graph = Graph([Task("slow", int, timeout_s=2.0)])
    session = Session(graph)
    call = session.take(0.0)
    assert call is not None
    session.stop("cancelled")
    assert str(timed_out(call, "its worker was killed")) == (
        "task 'slow' took longer than its timeout of 2 s; its worker was killed"
    )
    assert str(stopped(call, session, "it is over")) == (
        "task 'slow' was running when the run was stopped (cancelled); it is over"
    )


def test_old_names_go_on_working_with_a_warning_or_say_the_new_one() -> None:
    graph = Graph([Task("a", int)])
    with pytest.warns(DeprecationWarning, match='keep="sinks"'):
        assert Session(graph, keep="needed").kept == Session(graph, keep="sinks").kept
    call = Session(graph).take(0.0)
    assert call is not None
    with pytest.warns(DeprecationWarning, match="Attempt.task_name"):
        assert attempt(call, "here").name == "a"
    with pytest.warns(DeprecationWarning, match="Call.rank"):
        assert call.index == call.rank
    with pytest.warns(DeprecationWarning, match="Call.is_announced"):
        assert call.is_told is call.is_announced
    with pytest.raises(ValueError, match=r"write Task\(context=...\)"):
        Task("b", int, lane="x")  # type: ignore[call-arg]
