"""What somebody may have meant by a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable

CLOSE = 0.65  # of difflib's ratio: `thread` for `threads`, `fanin` for `fan-in`


def similar(word: str, known: Iterable[str]) -> str | None:
    """The known word that is closest to a word, if one is close enough."""
    from difflib import get_close_matches  # seldom needed

    return next(iter(get_close_matches(word, list(known), 1, CLOSE)), None)


def instead(word: str, known: Iterable[str], what: str) -> str:
    """The end of an error message: what may be meant, or else everything that is known.

    Args:
        what: names the known words, such as "known backends".
    """
    known = list(known)
    meant = similar(word, known)
    return f"{what}: {', '.join(known)}" if meant is None else f"did you mean {meant!r}?"
