"""What templates of the tests do once."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

MADE_IN: list[int] = []


def warm() -> None:
    MADE_IN.append(os.getpid())


def warm_with_numpy() -> None:
    import numpy.random

    numpy.random.random()
    warm()


def start_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()


def fail() -> None:
    raise ValueError("not here")


def take_long() -> None:
    Path(os.environ["TOLD"]).write_text(str(os.getpid()))
    time.sleep(1000)


def say() -> None:
    sys.stdout.write("said\n")
