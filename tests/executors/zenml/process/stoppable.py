"""A program for the tests of signals: a pipeline whose steps never end by themselves.

Called with the kind of its steps: `python` code, or code that blocks in `c`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from zenml import pipeline, step

FOLDER = Path(os.environ["TESTED_FOLDER"])


def tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def on_cleanup() -> None:
    tell("cleaned up")


def runs(kind: str, name: str) -> None:
    (FOLDER / name).touch()
    while not all((FOLDER / step).exists() for step in ("first", "second")):
        time.sleep(0.01)
    if name == "first":
        tell("steps run")
    if kind == "c":
        if threading.current_thread() is threading.main_thread():
            sum(range(10**12))  # a sleep would be interrupted there
        time.sleep(60)
    try:
        while True:
            time.sleep(0.01)
    finally:
        tell("finally")


@step(enable_cache=False)
def first(kind: str) -> None:
    runs(kind, "first")


@step(enable_cache=False)
def second(kind: str) -> None:
    runs(kind, "second")


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
