"""A program for the tests of signals: a pipeline whose steps never end by themselves.

Called with the kind of its steps: `python` code, or code that blocks in `c`.
"""

from __future__ import annotations

import sys
import threading
import time

from zenml import pipeline, step

READY = threading.Barrier(2)


def tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def on_cleanup() -> None:
    tell("cleaned up")


def runs(kind: str) -> None:
    if READY.wait(30) == 0:
        tell("steps run")
    if kind == "c":
        time.sleep(60)
    while True:
        time.sleep(0.01)


@step(enable_cache=False)
def first(kind: str) -> None:
    runs(kind)


@step(enable_cache=False)
def second(kind: str) -> None:
    runs(kind)


@step(enable_cache=False)
def after() -> None:
    tell("after ran")


@pipeline(enable_cache=False, on_cleanup=on_cleanup)
def stoppable(kind: str) -> None:
    first(kind)
    second(kind)
    after(after=["first", "second"])


if __name__ == "__main__":
    stoppable(sys.argv[1])
