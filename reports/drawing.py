"""How the figures look, whatever the user has set for matplotlib: files, styles, MPLBACKEND.

Figures depend on the results alone, and no setting of a notebook or a font stops them from being
drawn after hours of measuring. They have no background, and a grey that can be read on white and on
black, so they fit light and dark pages; and they are small enough for the width of a phone.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
