"""The command line: reads options, and hands them to `bench.commands`."""

from bench.cli.options import main

__all__ = ["main"]
