"""`bench list`: shapes, kernels and backends."""

from __future__ import annotations

import click

from bench.workloads.kernels import KERNELS
from bench.workloads.shapes import SHAPES, sized
from executors import Graph, Task
from executors.backends import SIMULATED, backend_class, backend_names


def listing() -> None:
    """Prints all of them, and why a backend is not available here."""
    click.echo(f"{'shape':<18}{'tasks':>6}{'edges':>6}{'depth':>6}{'width':>6}{'avg. par.':>10}")
    for name, shape in SHAPES.items():
        graph = Graph(Task(task, print, needs) for task, needs in sized(name).needs.items())
        click.echo(
            f"{name:<18}{len(graph):>6}{graph.edges:>6}{graph.depth:>6}{graph.width:>6}"
            f"{graph.average_parallelism:>10.2f}"
        )
        defaults = "".join(f":{key}={value}" for key, value in shape.defaults.items())
        click.echo(f"  {defaults}  {shape.summary}")
    click.echo("\nkernel      with a length, for example sleep:20ms")
    for name, kernel in KERNELS.items():
        click.echo(f"{name:<12}{kernel.summary}")
    click.echo("\nbackend")
    for name in backend_names():
        reason = backend_class(name).unavailable()
        click.echo(f"{name:<12}" + (f"not available here: {reason}" if reason else "available"))
    click.echo(f"{SIMULATED:<12}runs nothing: simulates that many ideal cores; used only if named")
