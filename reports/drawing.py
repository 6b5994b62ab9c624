"""How the figures look, whatever the user has set for matplotlib: files, styles, MPLBACKEND.

Figures depend on the results alone, and no setting of a notebook or a font stops them from being
drawn after hours of measuring. They have no background, and a grey that can be read on white and on
black, so they fit light and dark pages; and they are small enough for the width of a phone.

The lines of backends look the same in every figure, whatever else is in it. The colours are Okabe
and Ito's (2008), which colour-blind readers can distinguish; markers and dashes help, too. Markers
of this project's backends are filled, those of others hollow; executors of one package share a
colour.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.results.case import BASELINE, STACK, STACK_BASELINE

_BACKEND = os.environ.pop("MPLBACKEND", None)  # matplotlib cannot be imported with an unknown one
try:
    import matplotlib as mpl
finally:
    if _BACKEND is not None:
        os.environ["MPLBACKEND"] = _BACKEND

INK = "#777777"  # text and axes: contrast of at least 4.2 on white, and on the black of dark pages
FAINT = "#999999"

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "executor-bench",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "savefig.transparent": True,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "axes.titlecolor": INK,
}


@contextmanager
def drawing() -> Iterator[None]:
    """The settings of all figures, while the context lasts."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in another script
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


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
    "interpreters": Style(PINK, "^", "-.", True),
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
OTHERS = tuple(
    Style(colour, marker, dashes)
    for marker, dashes in (("^", "-."), ("v", ":"), ("P", "-"), ("X", "--"))
    for colour in (GREEN, PINK, SKY, YELLOW)
)


DASHES = ("-", "--", ":", "-.")  # of Pythons, in their order; colours are those of the backends
MARKERS = ("o", "s", "^", "D")

# Stacks that `bench zenml install` registers look like the backends that run their steps.
STACKS = {
    STACK_BASELINE: BASELINE,
    f"{STACK}threaded": "threads",
    f"{STACK}process": "processes",
    f"{STACK}docker": "dask",  # they look like any that are not in the same report
    f"{STACK}airflow": "pebble",
}


def style_of(backend: str, python: int | None = None) -> Style:
    """The style of a backend; one that is not known has one of its own, but maybe not alone.

    Args:
        python: the place of its Python, if several are compared: each has dashes and a marker.
    """
    known = STACKS.get(backend, backend)
    style = STYLES.get(known) or OTHERS[sum(backend.encode()) % len(OTHERS)]
    if python is None:
        return style
    place = python % len(DASHES)
    return style._replace(dashes=DASHES[place], marker=MARKERS[place])


def is_ours(backend: str) -> bool:
    """Whether it is one of this project's backends."""
    return backend in STYLES and STYLES[backend].is_ours
