"""The old name of `executors.contention`."""

import warnings

from executors.contention import Demand, Machine, Parts, stretches

__all__ = ["Demand", "Machine", "Parts", "stretches"]

warnings.warn("executors.sharing is now executors.contention", DeprecationWarning, 2)
