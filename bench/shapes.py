"""The old place of `bench.workloads.shapes`."""

import warnings

from bench.workloads.shapes import SHAPES, Shape, SizedShape, Tasks, shape, sized

__all__ = ["SHAPES", "Shape", "SizedShape", "Tasks", "shape", "sized"]

warnings.warn("bench.shapes is now bench.workloads.shapes", DeprecationWarning, 2)
