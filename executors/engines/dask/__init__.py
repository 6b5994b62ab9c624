"""dask.distributed as a backend: on a cluster of its own on this machine, or on one by its address.

::

    backend.py   `Dask`: its options                         (here)
    connection.py  a client, and what is behind it           (here)
    driving.py   one run: submits, follows, stops            (here)
    cluster.py   the processes of a cluster of its own       (here)
    node.py      what each of those processes does           (scheduler, workers)
    shipped.py   this package, sent to a cluster without it  (here, and on import there)
    worker.py    performs attempts and reports outcomes      (workers)
    ledger.py    what has begun, also after a kill -9        (workers)

The graph is handed over whole, and values stay on the workers. An action is sent pickled, so the
scheduler never needs what it imports. Outcomes travel as events, failures as values: dask's own
error state therefore means that something is wrong with the cluster.
"""
