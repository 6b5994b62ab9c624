"""What a run was asked for: its options, as the command line and a results file have them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_type_hints

from bench import BenchError
from bench.results.schema import check_fields


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to measure, as on the command line; each field is the option of that name.

    Attributes:
        shapes: comma-separated specs, such as `fan-in:width=8,diamond`; None means these two
            shapes, or none if there is a workflow or a graph.
        kernel: likewise, such as `sleep:20ms,noop`. A workflow gives the lengths of its tasks.
        payload: sizes of the values that tasks hand on, such as `0,1kB,array:1MB`.
        workflow: files in WfFormat, or folders of them.
        graph: functions that return the user's own graphs, as module:function.
        pipeline: the user's own ZenML pipeline, as module:pipeline; runs on stacks.
        pipeline_args: its arguments, as a JSON object.
        scale: factor for recorded times; None scales each workflow to 1 s of work.
        backends: names; None means ours that are available here. The baseline is always added.
        stacks: of ZenML, instead of backends; `default` is always added.
        max_workers: whole numbers; None means powers of two up to the CPU count and, for kernels
            that wait, two and four times that.
        backend_option: options of backends, as `backend_options` reads them.
        blocks: how often each case is measured; None means BLOCKS or, with a budget or a
            precision, as often as needed, up to MOST_BLOCKS.
        seed: seed of the run order.
        blas_threads: per worker.
        python: Pythons to compare, such as `3.11,3.14,/opt/python3.13t/bin/python3`; None means
            this one. The first is what the others are compared with.
        site: folders of packages for these, as `PYTHON=FOLDER`.
        budget: the longest time to measure, such as 2m.
        precision: stop when the interval of every speedup is within this share of it.
    """

    shapes: str | None = None
    kernel: str = "sleep,python-cpu,native-cpu"
    payload: str = "0"
    workflow: tuple[str, ...] = ()
    graph: tuple[str, ...] = ()
    pipeline: str | None = None
    pipeline_args: str | None = None
    scale: float | None = None
    backends: str | None = None
    stacks: str | None = None
    backend_option: tuple[str, ...] = ()
    max_workers: str | None = None
    blocks: int | None = None
    seed: int = 0
    blas_threads: int = 1
    budget: str | None = None
    precision: float | None = None
    python: str | None = None
    site: tuple[str, ...] = ()

    @property
    def has_own(self) -> bool:
        """Whether there is something to run beside shapes."""
        return bool(self.workflow or self.graph or self.pipeline)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunOptions:
        """The options in a results file's header, with defaults for those that are missing.

        Raises:
            BenchError: one has a wrong type.
        """
        hints = get_type_hints(cls)
        known = {name: value for name, value in values.items() if name in hints}
        try:
            check_fields(known, {name: hints[name] for name in known}, "the options in the results")
        except TypeError as error:
            raise BenchError(str(error)) from None
        for name in ("workflow", "graph", "backend_option", "site"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)

    @property
    def command(self) -> str:
        """The command line with these options."""
        words = ["bench", "run"]
        only_graphs = (self.graph or self.pipeline) and not self.shapes and not self.workflow
        always = ("seed",) if only_graphs else ("kernel", "seed")
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default or one.name in always:
                for part in value if isinstance(value, tuple) else [value]:
                    words += [f"--{one.name.replace('_', '-')}", str(part)]
        return shlex.join(words)


def items(option: str, text: str) -> list[str]:
    """The items of a comma-separated list, each once.

    Raises:
        BenchError: one of them is empty.
    """
    parts = [part.strip() for part in text.split(",")]
    if "" in parts:
        what = "has an empty item" if any(parts) else "is empty"
        raise BenchError(f"--{option} {what}: {text!r}; see: bench list")
    return list(dict.fromkeys(parts))


def check_text(options: RunOptions) -> None:
    """Refuses options that cannot be written into a results file.

    Raises:
        BenchError: one is not valid text.
    """
    try:
        repr(asdict(options)).encode()
        options.command.encode()
    except UnicodeEncodeError:
        raise BenchError(
            "an option has characters that this locale cannot read; set LC_ALL=C.UTF-8"
        ) from None


STOPPING = ("blocks", "budget", "precision")  # these only say when a run ends


def continued(options: RunOptions, given: Mapping[str, Any]) -> RunOptions:
    """The options of a run to continue; what is given now on when to end replaces all of that.

    Raises:
        BenchError: another option differs; names the first one.
    """
    for name, before in asdict(options).items():
        if name in given and name not in STOPPING and given[name] != before:
            raise BenchError(
                f"the run to continue has {'the default' if before in (None, ()) else before} for"
                f" --{name.replace('_', '-')}, not {given[name]}; leave the option out, or start"
                " another run"
            )
    if not set(STOPPING) & set(given):
        return options
    ends: dict[str, Any] = {name: given.get(name) for name in STOPPING}
    return replace(options, **ends)
