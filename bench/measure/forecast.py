"""How long the rest of a run takes: first from a model, then from what was measured."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from statistics import median


class Forecast:
    """The time that is left of a run whose blocks consist of the same parts.

    A part that was measured takes as long as its median so far. The others take as long as they
    were expected to, corrected by how wrong that was for those measured.

    Args:
        expected_s: seconds of each part of a block, by the model.
        blocks: the number of blocks.
        known_s: seconds of parts in earlier blocks, of the run that is continued.
        fewer: for parts that are in the first blocks only, in how many.
    """

    def __init__(
        self,
        expected_s: Mapping[Hashable, float],
        blocks: int,
        known_s: Mapping[Hashable, list[float]] | None = None,
        fewer: Mapping[Hashable, int] | None = None,
    ) -> None:
        self.blocks = blocks
        self._expected_s = expected_s
        self._fewer = fewer or {}
        self._measured_s = {part: list(seconds) for part, seconds in (known_s or {}).items()}

    def add(self, part: Hashable, seconds: float) -> None:
        """Notes how long a part took."""
        self._measured_s.setdefault(part, []).append(seconds)

    def part_s(self, part: Hashable) -> float:
        """How long a part takes."""
        if part in self._measured_s:
            return median(self._measured_s[part])
        known = [other for other in self._expected_s if other in self._measured_s]
        modelled_s = sum(self._expected_s[other] for other in known)
        real_s = sum(median(self._measured_s[other]) for other in known)
        return self._expected_s[part] * (real_s / modelled_s if modelled_s else 1.0)

    @property
    def block_s(self) -> float:
        """How long a block takes."""
        return sum(self.part_s(part) for part in self._expected_s)

    def left_s(self, block: int, done: set[Hashable], spent_s: float = 0.0) -> float:
        """How long the rest takes.

        Args:
            block: the one that is being measured, from 0.
            done: its parts that are finished or not needed.
            spent_s: already spent on the part that is being measured.
        """
        parts_s = later_s = 0.0
        for part in self._expected_s:
            left = self._fewer.get(part, self.blocks) - block
            part_s = self.part_s(part)
            if left > 0 and part not in done:
                parts_s += part_s
            later_s += part_s * max(0, left - 1)
        return max(0.0, parts_s - spent_s) + later_s
