"""The commands `bench zenml`: set up a ZenML stack that runs steps in parallel."""

from __future__ import annotations

import json

import click

from bench.cli.group import output_format
from bench.terminal.output import answer_alone, echo


@click.group()
def zenml() -> None:
    """Set up ZenML to run steps in parallel, on threads or processes."""


FLAVORS = {"thread": ("local_threaded", "threaded"), "process": ("local_process", "process")}


@zenml.command("install")
@click.option(
    "--flavor",
    type=click.Choice(sorted(FLAVORS, reverse=True)),
    default="thread",
    show_default=True,
    help="thread: steps run in threads of the calling process; process: in processes of their own",
)
@click.option(
    "--max-workers",
    type=click.IntRange(1),
    metavar="NUMBER",
    help="how many steps may run at once; default: the number of CPUs that the process may use",
)
@click.option(
    "--stack",
    metavar="NAME",
    help="name of the stack and of its orchestrator; default: threaded or process",
)
@click.option("--activate", is_flag=True, help="make it the active stack")
@output_format("text", "json")
def install_(
    flavor: str, max_workers: int | None, stack: str | None, activate: bool, form: str
) -> None:
    """Register flavor, orchestrator and stack; safe to repeat.

    If repeated, it changes only the given options: --max-workers, --activate.
    """
    with answer_alone(wanted=True):  # ZenML prints its first steps
        from executors.zenml.install import install

        name, default = FLAVORS[flavor]
        stack = stack or default
        lines = install(stack, max_workers, activate=activate, flavor=name)
    echo(json.dumps({"stack": stack, "done": lines}) if form == "json" else "\n".join(lines))


@zenml.command("tune")
@click.option("--undo", is_flag=True, help="put the store back as ZenML had it")
@output_format("text", "json")
def tune_(undo: bool, form: str) -> None:
    """Make ZenML's embedded store commit faster, so that steps cost less.

    Turns on the write-ahead log of the SQLite database in which ZenML keeps runs, if no server is
    connected. This stays on for all programs that use the store, until --undo. It is refused while
    another program writes to the store.
    """
    with answer_alone(wanted=True):
        from executors.zenml.store.tuning import tune

        lines = tune(undo)
    echo(json.dumps({"done": lines}) if form == "json" else "\n".join(lines))
