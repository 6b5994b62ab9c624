"""What all commands of `bench` share: clear errors, and defaults from elsewhere."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from bench.cli.config import defaults, variable

INTERRUPTED = 130


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turns what a user can mend into one message and exit code 2, and Ctrl-C into 130."""
    from bench import BenchError
    from executors.errors import (
        BackendError,
        GraphError,
        InstallError,
        RunFailed,
        UnsupportedZenML,
    )

    try:
        yield
    except click.BadParameter as error:
        if error.ctx is not None and isinstance(error.param, click.Option):
            source = error.ctx.get_parameter_source(str(error.param.name))
            places = {
                ParameterSource.ENVIRONMENT: error.param.envvar,
                ParameterSource.DEFAULT_MAP: "[tool.bench] of pyproject.toml",
            }
            if source in places:
                said = f"{error.message.rstrip('.')} (from {places[source]})."
                raise click.BadParameter(said, error.ctx, error.param) from None
        raise
    except (BenchError, BackendError, GraphError, InstallError, UnsupportedZenML) as error:
        raise click.UsageError(str(error)) from error
    except RunFailed as error:
        raise click.ClickException(str(error)) from error
    except BrokenPipeError:
        raise  # click ends quietly when nobody reads what it prints
    except OSError as error:
        where = f"cannot use {error.filename}: " if error.filename else ""
        what_next = "; name another place" if where else ""
        if error.errno == errno.ENOSPC:
            what_next = "; free some"
        raise click.UsageError(f"{where}{error.strerror or error}{what_next}") from error
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)


class Commands(click.Group):
    """Commands whose errors are told clearly, wherever they come from.

    Each option may also come from the environment, as BENCH_MAX_WORKERS or BENCH_METG_MAX_WORKERS,
    or from [tool.bench].
    """

    def invoke(self, ctx: click.Context) -> Any:
        with _clear_errors():
            ctx.default_map = _configured(self)
            return super().invoke(ctx)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        for option in _options(cmd):
            option.envvar = variable(name or str(cmd.name), option)
        super().add_command(cmd, name)


def _options(command: click.Command) -> list[click.Option]:
    return [each for each in command.params if isinstance(each, click.Option)]


def _configured(commands: click.Group) -> dict[str, Any]:
    return defaults({name: _options(each) for name, each in commands.commands.items()})
