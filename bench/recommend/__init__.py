"""Which backend and how many workers: `recommend` for your own graph."""

from bench.recommend.advisor import recommend

__all__ = ["recommend"]
