"""What all commands of `bench` share: clear errors, and options from elsewhere."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from bench.cli.config import defaults, table_name, variable
from bench.commands.exit_codes import INTERRUPTED


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turns errors that a user can fix into one message and exit code 2, and Ctrl-C into 130."""
    from executors.errors import ExecutorError, RunFailed

    try:
        yield
    except click.BadParameter as error:
        raise _with_source(error) from None
    except RunFailed as error:
        raise click.ClickException(str(error)) from error
    except ExecutorError as error:
        raise click.UsageError(str(error)) from error
    except BrokenPipeError:
        raise  # click ends quietly when nobody reads the output
    except OSError as error:
        where = f"cannot use {error.filename}: " if error.filename else ""
        what_next = "; choose another path" if where else ""
        if error.errno == errno.ENOSPC:
            what_next = "; free some space"
        raise click.UsageError(f"{where}{error.strerror or error}{what_next}") from error
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)


def _with_source(error: click.BadParameter) -> click.BadParameter:
    """Adds where a wrong value comes from, if not from the command line."""
    if error.ctx is None or not isinstance(error.param, click.Option):
        return error
    places = {
        ParameterSource.ENVIRONMENT: error.param.envvar,
        ParameterSource.DEFAULT_MAP: f"{table_name(str(error.ctx.info_name))} of pyproject.toml",
    }
    source = error.ctx.get_parameter_source(str(error.param.name))
    if source not in places:
        return error
    message = f"{error.message.rstrip('.')} (from {places[source]})."
    return click.BadParameter(message, error.ctx, error.param)


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


class Commands(click.Group):
    """Commands that report errors clearly, whatever caused them.

    Each option can also be set in the environment, for example BENCH_MAX_WORKERS or
    BENCH_METG_MAX_WORKERS, or in [tool.bench].
    """

    def invoke(self, ctx: click.Context) -> Any:
        with _clear_errors():
            ctx.default_map = _configured(self)
            return super().invoke(ctx)

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


def _options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def _configured(group: click.Group) -> dict[str, Any]:
    return defaults({name: _options(command) for name, command in group.commands.items()})
