"""What all commands of `bench` share: clear errors, and options from elsewhere."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import click
from click.core import ParameterSource

from bench.cli.config import check_environment, defaults, key_of, table_name, variable
from bench.terminal.exit_codes import FAILED, INTERRUPTED, WRONG_USAGE
from bench.terminal.output import colour_of_libraries, complain, echo, explained_os_error
from executors.spelling import instead


def _options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


class _Plain(click.ClickException):
    """An error whose message says what to do; wrapped at words on a terminal."""

    exit_code = WRONG_USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        complain(self.message)


class _Failed(_Plain):
    """A run that was wanted has failed."""

    exit_code = FAILED


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turns errors that a user can fix into one message and exit code 2."""
    from executors.errors import ExecutorError, RunFailed

    try:
        yield
    except click.BadParameter as wrong:
        raise _with_source(wrong) from None
    except RunFailed as failed:
        from bench.workloads.own_graphs import explained

        raise _Failed(explained(failed)) from failed
    except ExecutorError as wrong:
        raise _Plain(str(wrong)) from wrong
    except OSError as failed:
        is_full = failed.errno == errno.ENOSPC
        raise (_Failed if is_full else _Plain)(explained_os_error(failed)) from failed


@contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """Turns Ctrl-C into one word and exit code 130, also while modules are imported."""
    try:
        yield
    except (KeyboardInterrupt, ImportError) as error:
        # Interrupted, C code that is being imported may fail with an error of its own.
        causes = (error, error.__cause__, error.__context__)
        if not any(isinstance(cause, KeyboardInterrupt) for cause in causes):
            raise
        echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)


def _place(ctx: click.Context, option: click.Option) -> str | None:
    """Where an option's value comes from; None: from the command line, or it is the default."""
    places = {
        ParameterSource.ENVIRONMENT: str(option.envvar),
        ParameterSource.DEFAULT_MAP: f"{table_name(str(ctx.info_name))} of pyproject.toml",
    }
    source = ctx.get_parameter_source(str(option.name))
    return None if source is None else places.get(source)


def _with_source(error: click.BadParameter) -> click.BadParameter:
    """Adds where a wrong value comes from, if not from the command line."""
    if error.ctx is None or not isinstance(error.param, click.Option):
        return error
    place = _place(error.ctx, error.param)
    if place is None:
        return error
    message = f"{error.message.rstrip('.')} (from {place})."
    return click.BadParameter(message, error.ctx, error.param)


def _with_sources(message: str, ctx: click.Context) -> str:
    """Adds where the values come from that a message speaks of, if not from the command line."""
    places = [
        place
        for option in _options(ctx.command)
        if (place := _place(ctx, option)) and _speaks_of(message, option, ctx)
    ]
    return f"{message} (from {' and '.join(dict.fromkeys(places))})" if places else message


def _speaks_of(message: str, option: click.Option, ctx: click.Context) -> bool:
    """Whether a message names an option, or quotes its value or a part of it."""
    value = ctx.params.get(str(option.name))
    texts = [str(text) for text in (value if option.multiple and value else [value])]
    wholes = [text for text in texts if text]
    items = [item for text in wholes for item in text.split(",")]
    parts = [part for item in items for part in (item, *item.split(":"))]
    quoted = [f"'{part}'" for part in parts if part]
    wanted = "|".join(map(re.escape, [f"--{key_of(option)}", *wholes, *quoted]))
    return re.search(rf"(?<![\w-])({wanted})(?![\w-])", message) is not None


def output_format(*forms: str) -> Callable[[Any], Any]:
    """The option `--format`; the first form is the default."""
    return click.option(
        "--format",
        "form",
        default=forms[0],
        show_default=True,
        type=click.Choice(forms),
        help="output format",
    )


class _Configured(click.Command):
    """A command whose options may also be set in the environment and in pyproject.toml."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = any(arg in ctx.help_option_names for arg in args)
        if not asks_for_help and ctx.parent is not None:  # help is for whoever has to mend the file
            commands = getattr(ctx.parent.command, "commands", {})
            variables = {
                name: [str(option.envvar) for option in _options(command) if option.envvar]
                for name, command in commands.items()
            }
            check_environment(variables, str(self.name), os.environ)
            ctx.default_map = defaults(str(self.name), _options(self), commands)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        from executors.errors import ExecutorError, RunFailed

        try:
            return super().invoke(ctx)
        except RunFailed:
            raise
        except ExecutorError as wrong:
            raise _Plain(_with_sources(str(wrong), ctx)) from wrong


class Commands(click.Group):
    """Commands that report errors clearly, whatever caused them.

    Each option can also be set in the environment, for example BENCH_MAX_WORKERS or
    BENCH_METG_MAX_WORKERS, or in [tool.bench].
    """

    command_class = _Configured

    def invoke(self, ctx: click.Context) -> Any:
        colour_of_libraries()
        with _clear_errors(), _quiet_interrupt():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            known = instead(name, self.commands, "commands")
            raise click.UsageError(f"unknown command {name!r}; {known}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands with whole summaries, however narrow the terminal is."""
        rows = [
            (name, self.commands[name].get_short_help_str(500)) for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        for option in _options(cmd):
            option.envvar = variable(name or str(cmd.name), option)
        super().add_command(cmd, name)
