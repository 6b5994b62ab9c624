"""What is being measured at the moment, and how long it still takes, on standard error."""

from __future__ import annotations

import os
import sys
from time import monotonic
from typing import Self

from bench.terminal.output import is_terminal

REDRAW_S = 0.1
PLAIN_S = 5.0  # between two lines where there is no terminal


def shortened(step: str, columns: int) -> str:
    """A step that fits: its end stays, which has the run and the time that is left."""
    if len(step) <= columns:
        return step
    name, comma, end = step.rpartition(", run ")
    if not comma:
        name, comma, end = step.rpartition(", about ")
    room = columns - len(comma + end) - 3
    return f"{name[:room]}...{comma}{end}" if comma and room > 0 else step[:columns]


class Progress:
    """A line that is drawn again and again; elsewhere than on a terminal, a line every 5 seconds.

    Call it with each step. `erase` takes the line away before something else is printed.
    """

    def __init__(self, quiet: bool) -> None:
        self._is_quiet = quiet or sys.stderr is None
        self._is_line = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._is_drawn = False
        self._last_s = float("-inf") if self._is_line else monotonic()

    def __call__(self, step: str) -> None:
        now_s = monotonic()
        wait_s = REDRAW_S if self._is_line else PLAIN_S
        if self._is_quiet or now_s - self._last_s < wait_s:
            return
        self._last_s = now_s
        if self._is_line:
            self._write(f"\r{shortened(step, self._columns() - 1)}\x1b[K")
            self._is_drawn = True
        else:
            self._write(f"{step}\n")

    def erase(self) -> None:
        """Leaves nothing of the line."""
        if self._is_drawn:
            self._write("\r\x1b[K")
            self._is_drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.erase()

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._is_quiet = True  # nobody is there any more: not a reason to stop measuring

    @staticmethod
    def _columns() -> int:
        try:
            return os.get_terminal_size(sys.stderr.fileno()).columns or 80
        except (OSError, ValueError):
            return 80
