"""The Pythons that a plan is measured on: this one, or those that `--python` names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import BenchError
from bench.measure.hosts.child import Child
from bench.measure.hosts.choice import Interpreter, chosen
from bench.measure.hosts.here import Here, Host
from bench.measure.options import RunOptions, items
from bench.results.case import BASELINE
from bench.results.samples import LockState
from executors.backends import backend_class, default_backends
from executors.cpus import has_interpreter_lock


@dataclass(frozen=True, slots=True)
class Pythons:
    """Hosts by the names of their Pythons; the first one's sequential runs are the reference.

    Attributes:
        hosts: this process alone, with an empty name, if `--python` names none.
        interpreters: what is known of each that `--python` names.
        unavailable: for each of these, why a backend cannot be used there.
        left_out: why others cannot be measured, by what `--python` calls them.
    """

    hosts: Mapping[str, Host]
    interpreters: Mapping[str, Interpreter] = field(default_factory=dict)
    unavailable: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> Pythons:
        return cls({"": Here()})

    @property
    def reference(self) -> Host:
        return next(iter(self.hosts.values()))

    def shares_lock(self, python: str) -> bool:
        """Whether threads of a Python take turns."""
        if python in self.interpreters:
            return self.interpreters[python].is_gil_enabled
        return has_interpreter_lock()

    def default_backends(self) -> list[str]:
        """The backends that are measured unless others are named, wherever they can be used."""
        if not self.interpreters:
            return default_backends()
        known = dict.fromkeys(name for names in self.unavailable.values() for name in names)
        return [name for name in known if backend_class(name).is_default]

    def without(self, backends: Sequence[str]) -> dict[str, dict[str, str]]:
        """For each Python, which of these backends it lacks, and why."""
        return {
            python: {
                name: reasons.get(name) or "it is not known there"
                for name in backends
                if name != BASELINE
                and backend_class(name).runs_tasks
                and reasons.get(name, "") is not None
            }
            for python, reasons in self.unavailable.items()
        }

    def reasons(self, missing: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Why something is left out, by what that is.

        Args:
            missing: backends that were asked for, as `without` gives them.
        """
        return {f"Python {python}": reason for python, reason in self.left_out.items()} | {
            f"{backend} on Python {python}": reason
            for python, reasons in missing.items()
            for backend, reason in reasons.items()
        }

    def header(self) -> dict[str, Any]:
        """What a results file says of each."""
        return {label: one.identity for label, one in self.interpreters.items()}

    def check_same(self, header: Mapping[str, Any]) -> None:
        """Refuses to continue a run of other Pythons.

        Raises:
            BenchError: one is missing, or is not what it was.
        """
        then = header.get("pythons", {})
        here = {one.executable for one in self.interpreters.values()}
        for label, facts in then.items():
            if facts["executable"] not in here:
                reason = "; ".join(self.left_out.values()) or facts["executable"]
                raise BenchError(
                    f"Python {label} of this run is missing ({reason}); start a new run"
                )
        for label, facts in self.header().items():
            for name, value in facts.items():
                if (was := then.get(label, {}).get(name)) != value:
                    raise BenchError(
                        f"Python {label} is not what it was ({name}: {was or 'left out'}, now"
                        f" {value}); start a new run"
                    )

    def lock_states(self) -> Iterator[LockState]:
        """Whether the interpreter lock of each free-threaded build is on now."""
        for label, host in self.hosts.items():
            state = host.lock_state()
            if state is not None:
                yield LockState(label, *state)


@contextmanager
def opened(options: RunOptions) -> Iterator[Pythons]:
    """Starts a process of each Python that `--python` names.

    Raises:
        BenchError: none of them can be measured, or an option has no effect with them.
    """
    if options.python is None:
        if options.site:
            raise BenchError("--site is for the Pythons that --python names")
        yield Pythons.here()
        return
    if options.stacks is not None or options.pipeline is not None:
        raise BenchError("no effect with --python: --stacks and --pipeline; ZenML runs in this one")
    found, left_out = chosen(items("python", options.python), options.site)
    with ExitStack() as stack:
        children = {}
        unavailable = {}
        for one in found:
            child = stack.enter_context(Child(one))
            try:
                unavailable[one.label] = child.unavailable()
            except BenchError as error:
                left_out[one.label] = str(error)
                continue
            children[one.label] = child
        if not children:
            lines = [f"{name}: {reason}" for name, reason in left_out.items()]
            raise BenchError(f"no Python of --python can be measured; {'; '.join(lines)}")
        interpreters = {label: child.interpreter for label, child in children.items()}
        yield Pythons(children, interpreters, unavailable, left_out)
