"""How the lines of backends look: the same in every figure, whatever else is in it.

The colours are Okabe and Ito's (2008), which colour-blind readers can distinguish; markers and
dashes help, too. Markers of this project's backends are filled, those of others hollow; executors
of one package share a colour.
"""

from __future__ import annotations

from typing import NamedTuple

from bench.results.case import BASELINE
from reports.drawing import INK

BLUE, SKY, GREEN, YELLOW = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
RED, PINK = "#D55E00", "#CC79A7"


class Style(NamedTuple):
    """Of a backend's line."""

    colour: str
    marker: str
    dashes: str
    is_ours: bool = False

    @property
    def fill(self) -> str:
        """Of its markers."""
        return self.colour if self.is_ours else "none"


STYLES = {
    "threads": Style(BLUE, "o", "-", True),
    "processes": Style(RED, "s", "--", True),
    BASELINE: Style(INK, "D", "-", True),
    "simulated": Style(GREEN, "", ":", True),
    "futures": Style(SKY, "D", "-."),
    "futures-threads": Style(SKY, "o", "-"),
    "futures-processes": Style(SKY, "s", "--"),
    "loky": Style(YELLOW, "s", "--"),
    "joblib": Style(YELLOW, "D", "-."),
    "joblib-threads": Style(YELLOW, "o", "-"),
    "pebble": Style(PINK, "s", "--"),
    "dask": Style(GREEN, "D", "-."),
    "ray": Style(PINK, "D", "-."),
    "dask-threads": Style(GREEN, "o", "-"),
    "dask-processes": Style(GREEN, "s", "--"),
}
OTHERS = (
    Style(GREEN, "^", "-."),
    Style(PINK, "v", ":"),
    Style(SKY, "P", "-"),
    Style(YELLOW, "X", "--"),
)


def style_of(backend: str) -> Style:
    """The style of a backend; one that is not known has one of its own, but maybe not alone."""
    return STYLES.get(backend) or OTHERS[sum(backend.encode()) % len(OTHERS)]


def is_ours(backend: str) -> bool:
    """Whether it is one of this project's backends."""
    return backend in STYLES and STYLES[backend].is_ours
