"""Threads of BLAS libraries, which read their limits when numpy loads them."""

from __future__ import annotations

import json
import os
from pathlib import Path

BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def limit_blas_threads(threads: int) -> None:
    """Limits them in this process and its children; call it before numpy is imported.

    With one thread per worker, workers and BLAS threads do not compete for the same CPUs.
    """
    for name in BLAS_VARIABLES:
        os.environ[name] = str(threads)


def blas_threads_of(results: Path) -> int | None:
    """The limit with which a run was started, or None if its file does not say."""
    try:
        with results.open(encoding="utf-8-sig") as file:
            threads = json.loads(file.readline())["config"]["options"]["blas_threads"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return threads if isinstance(threads, int) else None
