"""Executors and schedulers of other packages, behind the same port as our own backends.

A pool (`pools.py`) has no scheduler; its users write a loop, and the session is that loop. A
scheduler (`whole.py`) gets the whole graph, and the session follows what happens. Nothing here
imports the package that it stands for before it is used.
"""

from __future__ import annotations

FUTURES = "futures"

# By the name of the backend, where its class is.
ENGINES = {
    FUTURES: "executors.engines.any_executor:Futures",
    "futures-threads": "executors.engines.named:FuturesThreads",
    "futures-processes": "executors.engines.named:FuturesProcesses",
    "loky": "executors.engines.named:Loky",
    "pebble": "executors.engines.named:Pebble",
    "dask": "executors.engines.dask.backend:Dask",
    "dask-threads": "executors.engines.dask_local:DaskThreads",
    "dask-processes": "executors.engines.dask_local:DaskProcesses",
    "joblib": "executors.engines.joblib_levels:Joblib",
    "joblib-threads": "executors.engines.joblib_levels:JoblibThreads",
}
