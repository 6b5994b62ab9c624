"""The type of options like `--precision 3%`."""

from __future__ import annotations

import click


def share(text: str) -> float:
    """A share: 0.03 or 3%.

    Raises:
        click.BadParameter: it is not one.
    """
    text = text.strip()
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a share like 0.03 or 3%") from None
    if 1 <= value < 100 and not text.endswith("%"):
        raise click.BadParameter(f"must be between 0 and 1, not {text}; did you mean {text}%?")
    return value
