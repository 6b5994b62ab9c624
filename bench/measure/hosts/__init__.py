"""Where a plan is measured: this process (`here.py`), or other Pythons (`child.py`).

::

    choice.py     finds the Pythons that --python names, and examines them
    child.py      the handle of a process of another Python; has the methods of `Here`
    program.py    the program of that process: a `Here` that takes requests
"""
