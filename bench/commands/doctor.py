"""`bench doctor`: what this machine can do, and what may spoil a measurement."""

from __future__ import annotations

import json
from dataclasses import asdict

from bench.machine.doctor import examine
from bench.terminal.output import echo, hanging

NAME_WIDTH = 24


def doctor(form: str) -> None:
    """Prints the facts one by one, each with its advice below it."""
    if form == "json":
        echo(json.dumps([asdict(fact) for fact in examine()], indent=1))
        return
    section = None
    for fact in examine():
        if fact.section != section:
            echo(fact.section if section is None else f"\n{fact.section}")
            section = fact.section
        hanging(f"  {fact.name:<{NAME_WIDTH}} {fact.value}", NAME_WIDTH + 3)
        if fact.advice:
            hanging(f"  {'':<{NAME_WIDTH}} -> {fact.advice}", NAME_WIDTH + 6)
