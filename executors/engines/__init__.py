"""Executors and schedulers of other packages, behind the same port as our own backends.

A pool (`pools.py`) has no scheduler; its users write a loop, and the session is that loop. A
scheduler (`whole.py`) gets the whole graph, and the session follows what happens. Nothing here
imports the package that it stands for before it is used.
"""

from __future__ import annotations

from importlib.util import find_spec

PROJECT = "executor-bench"
FUTURES = "futures"

# By the name of the backend, where its class is.
ENGINES = {
    FUTURES: "executors.engines.any_executor:Futures",
    "futures-threads": "executors.engines.named:FuturesThreads",
    "futures-processes": "executors.engines.named:FuturesProcesses",
    "loky": "executors.engines.named:Loky",
    "pebble": "executors.engines.named:Pebble",
    "dask": "executors.engines.dask.backend:Dask",
    "ray": "executors.engines.ray_tasks:Ray",
    "dask-threads": "executors.engines.dask_local:DaskThreads",
    "dask-processes": "executors.engines.dask_local:DaskProcesses",
    "joblib": "executors.engines.joblib_levels:Joblib",
    "joblib-threads": "executors.engines.joblib_levels:JoblibThreads",
}


def missing(module: str, extra: str) -> str | None:
    """What to do if a package is not installed, or None if it is."""
    try:
        is_here = find_spec(module) is not None
    except (ImportError, ValueError):  # half installed, or taken out of sys.modules
        is_here = False
    return None if is_here else f"pip install '{PROJECT}[{extra}]'"
