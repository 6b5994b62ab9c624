"""The template: a process that makes itself ready for calls once, and forks workers.

Its descriptors are its end of the line that `forked.py` asks on, and its lifeline.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import sys
import warnings
from importlib import import_module
from pathlib import Path

from executors.backends.workers.main import serve_in_process
from executors.backends.workers.wire import MESSAGES, receive, send
from executors.imports.lifeline import die_with_parent
from executors.imports.surroundings import Changes, adopt


def main() -> None:
    line, lifeline = map(int, sys.argv[1:3])
    for descriptor in (line, lifeline):
        os.set_inheritable(descriptor, False)
    die_with_parent(lifeline)
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    module, function = sys.argv[3:]
    try:
        getattr(import_module(module), function)()
    except Exception:
        return  # it will fail in the worker, too, which says so
    if _has_threads():
        return  # a fork would lose them, and keep what they had locked
    gc.collect()
    gc.freeze()  # or the first collection in each worker would copy all pages
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or each worker would print what is left there
    with socket.socket(socket.AF_UNIX, MESSAGES, fileno=line) as channel:
        send(channel, (0,), [])
        job = _next_worker(channel)
    if job is not None:
        os.close(lifeline)
        signal.signal(signal.SIGINT, on_interrupt)
        _become_worker(*job)


def _has_threads() -> bool:
    """Whether there are threads, except those that end before a fork, as OpenBLAS's do."""
    with warnings.catch_warnings(action="ignore"):  # of just that
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return len(list(Path("/proc/self/task").iterdir())) > 1


def _next_worker(channel: socket.socket) -> tuple[Changes, list[int]] | None:
    """Answers until the program has closed the line; what a worker has to do, in a worker."""
    while True:
        question, received = receive(channel)
        if question is None:
            return None
        if question[0] == "wait":
            _, status = os.waitpid(question[1], 0)
            send(channel, (os.waitstatus_to_exitcode(status),), [])
            continue
        descriptors = list(received)
        pid = os.fork()
        if pid == 0:
            _, changes, streams = question
            for stream in streams:  # as a fresh process, it has those that the program has now
                os.dup2(descriptors[0], stream)
                os.close(descriptors.pop(0))
            return pickle.loads(changes), descriptors
        try:
            os.setpgid(pid, pid)  # the worker does, too: whoever is first
        except OSError:
            pass
        ended = os.pidfd_open(pid)
        send(channel, (pid,), [ended])
        for descriptor in (ended, *descriptors):
            os.close(descriptor)


def _become_worker(changes: Changes, descriptors: list[int]) -> None:
    os.setpgid(0, 0)
    if "numpy.random" in sys.modules:  # else all workers would draw the same numbers
        sys.modules["numpy.random"].seed()
    adopt(changes)
    serve_in_process(*descriptors)
