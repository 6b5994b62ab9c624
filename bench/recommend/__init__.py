"""Which backend and how many workers: `recommend` for a graph of your own."""

from bench.recommend.advisor import recommend

__all__ = ["recommend"]
