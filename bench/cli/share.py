"""The type of options like `--precision 3%`."""

from __future__ import annotations

from typing import Any

import click


class Share(click.ParamType):  # type: ignore[type-arg]  # not generic in earlier versions
    """A share: 0.03 or 3%."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value).strip()
        try:
            if text.endswith("%"):
                return float(text[:-1]) / 100
            return float(text)
        except ValueError:
            self.fail(f"{text!r} is not a share like 0.03 or 3%", param, ctx)
