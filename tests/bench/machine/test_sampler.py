"""CPU time of a process tree, against what the processes themselves say."""

from __future__ import annotations

import subprocess
import sys
import time

from bench.machine.sampler import Sampler

BURN = (
    "import time\nwhile time.process_time() < {s}: pass\nprint(time.process_time(), flush=True)\n"
)


def burn(seconds: float) -> None:
    end_s = time.process_time() + seconds
    while time.process_time() < end_s:
        pass


def test_the_cpu_time_of_this_process_is_counted() -> None:
    with Sampler() as sampler:
        sampler.begin()
        before_s = time.process_time()
        burn(0.2)
        spent_s = time.process_time() - before_s
        sample = sampler.end()
    assert spent_s * 0.95 <= sample.cpu_s <= spent_s * 1.1 + 0.02
    times_s = [at_s for at_s, _ in sample.busy]
    assert times_s == sorted(times_s)
    assert len(times_s) >= 3
    assert sample.memory_bytes > 5_000_000


def test_memory_that_is_held_for_a_moment_is_seen() -> None:
    with Sampler() as sampler:
        sampler.begin()
        held = b"x" * 300_000_000
        time.sleep(0.5)
        del held
        assert sampler.end().memory_bytes > 300_000_000


def test_sleeping_is_not_busy() -> None:
    with Sampler() as sampler:
        sampler.begin()
        time.sleep(0.2)
        assert sampler.end().cpu_s < 0.05


def test_children_count_whether_they_live_on_or_end_meanwhile() -> None:
    with Sampler() as sampler:
        command = [sys.executable, "-c", "input()\n" + BURN.format(s=0.3) + "input()"]
        lives = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert lives.stdin is not None
        assert lives.stdout is not None
        sampler.begin()
        lives.stdin.write("\n")
        lives.stdin.flush()
        ended = subprocess.run(
            [sys.executable, "-c", BURN.format(s=0.2)], check=True, capture_output=True, text=True
        )
        spent_s = float(ended.stdout) + float(lives.stdout.readline())
        sample = sampler.end()
        lives.communicate("\n")
    assert spent_s * 0.7 <= sample.cpu_s <= spent_s * 1.2 + 0.1


def test_one_sampler_serves_many_runs_and_leaves_no_process() -> None:
    with Sampler() as sampler:
        for _ in range(3):
            sampler.begin()
            assert sampler.end().cpu_s < 0.5
        process = sampler._process
    assert process.poll() is not None
