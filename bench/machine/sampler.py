"""CPU time and memory of a process tree, measured from another process.

`Sampler` starts `sampling.py` as a process, which finds the tree with psutil before a timed region
and then only reads the clocks of the processes that it knows::

    parent                     sampling process
    begin  ------------------> finds the tree, reads every CPU clock
           <------------------ ready
    (timed run)                reads the clocks every 25 ms: the curve
    end    ------------------> finds the tree again, reads every CPU clock: the total
           <------------------ {"cpu_s": ..., "busy": ..., "memory_bytes": ...}
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Self

from bench import BenchError
from executors.imports.interpreter import module_command


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process tree used between `begin` and `end`.

    Attributes:
        cpu_s: CPU seconds of all its processes.
        busy: pairs of a monotonic time and the average of busy cores since the previous pair.
        memory_bytes: the largest sum of resident sizes, sampled every 100 ms and at both ends.
    """

    cpu_s: float
    busy: list[tuple[float, float]]
    memory_bytes: int


class Sampler:
    """Samples a process and its children, except the sampling process itself.

    A context manager; on entry it starts the sampling process.
    """

    def __enter__(self) -> Self:
        answers, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                module_command("bench.machine.sampling", theirs),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # other packages may print when Python starts
                text=True,
                bufsize=1,
                pass_fds=[theirs],
                process_group=0,  # so that Ctrl-C in the terminal does not reach it
            )
        except BaseException:
            os.close(answers)
            raise
        finally:
            os.close(theirs)
        self._answers = os.fdopen(answers, encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        try:
            self._process.communicate()
        except OSError:
            pass  # it had ended before
        self._answers.close()

    @property
    def pid(self) -> int:
        """The process id of the sampling process."""
        return self._process.pid

    def begin(self, root: int | None = None) -> None:
        """Returns when the sampler has read the tree in its present state.

        Args:
            root: process id of the tree's root; None for this process.
        """
        self._request(f"begin {root or os.getpid()}")

    def end(self) -> Sample:
        """The use since `begin`."""
        sample = json.loads(self._request("end"))
        busy = [(at_s, cores) for at_s, cores in sample["busy"]]
        return Sample(sample["cpu_s"], busy, sample["memory_bytes"])

    def _request(self, request: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + "\n")
            answer = self._answers.readline()
        except OSError:
            answer = ""
        if not answer:
            raise BenchError("the process that samples CPU time has ended, and the run with it")
        return answer
