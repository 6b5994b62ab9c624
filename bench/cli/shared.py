"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.cli import completion


def output(help_text: str) -> Callable[[Any], Any]:
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help=help_text
    )


backends = click.option(
    "--backends",
    metavar="NAMES",
    shell_complete=completion.backends,
    help="comma-separated names, see: bench list; default: those of this project",
)
backend_option = click.option(
    "--backend-option",
    multiple=True,
    metavar="NAME.KEY=VALUE",
    help="option of a backend, for example processes.preload=numpy; repeatable",
)
seed = click.option("--seed", default=0, show_default=True, help="seed of the run order")


def shapes(help_text: str) -> Callable[[Any], Any]:
    return click.option(
        "--shapes", metavar="SPECS", shell_complete=completion.shapes, help=help_text
    )


kernel = click.option(
    "--kernel",
    default="sleep,python-cpu,native-cpu",
    show_default=True,
    metavar="SPECS",
    shell_complete=completion.kernels,
    help="what a task does, for example sleep:20ms,noop; the default length is 20ms",
)
payload = click.option(
    "--payload",
    default="0",
    show_default=True,
    metavar="SIZES",
    help="sizes of the values that tasks hand on, for example 0,1kB,array:100MB; bytes, or an array"
    " of numpy",
)
workflow = click.option(
    "--workflow",
    multiple=True,
    metavar="PATH",
    help="recorded workflow in WfFormat, or a folder of them; repeatable",
)
graph = click.option(
    "--graph",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="function of yours that returns a Graph; repeatable",
)
scale = click.option(
    "--scale",
    type=float,
    metavar="FACTOR",
    help="multiply recorded task times; default: 1 s of total work per workflow",
)
python = click.option(
    "--python",
    metavar="PYTHONS",
    help="Pythons to measure on, for example 3.11,3.14,/opt/bin/python3.13t; the first is what the"
    " others are compared with; nothing has to be installed there; default: this one",
)
site = click.option(
    "--site",
    multiple=True,
    metavar="PYTHON=FOLDER",
    help="folder of packages, or virtual environment, for one of --python; repeatable",
)
