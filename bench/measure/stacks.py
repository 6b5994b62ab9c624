"""ZenML stacks in a plan: which of them can run here, and with how many workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench import BenchError
from bench.results.case import BASELINES, STACK, STACK_BASELINE
from executors.backends import backend_class

FAR_STEP_S = 1.0


def stack_backends(asked: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The backends of the stacks that can run here, and why the others cannot, by stack.

    Args:
        asked: names of stacks; the baseline is added.

    Raises:
        BenchError: none of them can run here, or the baseline cannot.
        BackendError: ZenML is not installed.
    """
    names = dict.fromkeys([STACK_BASELINE, *(f"{STACK}{name}" for name in asked)])
    reasons = {name: backend_class(name).unavailable() for name in names}
    left_out = {
        name.removeprefix(STACK): reason for name, reason in reasons.items() if reason is not None
    }
    if all(name in left_out for name in asked):
        lines = [f"{name}: {reason}" for name, reason in left_out.items()]
        raise BenchError("no stack can be measured here; " + "; ".join(lines))
    if (reason := reasons[STACK_BASELINE]) is not None:
        raise BenchError(f"the stack default, which others are compared with: {reason}")
    return [name for name in names if reasons[name] is None], left_out


def without(backend_options: Iterable[str], left_out: Iterable[str]) -> tuple[str, ...]:
    """The options of backends, without those of stacks that are left out."""
    of_others = tuple(f"{STACK}{name}." for name in left_out)
    return tuple(text for text in backend_options if not text.startswith(of_others))


def is_far(backend: str) -> bool:
    """Whether the tasks of a backend start in containers or on other machines, seconds each."""
    return backend.startswith(STACK) and backend_class(backend).task_guess_s >= FAR_STEP_S


def numbers_of(backend: str, asked: Sequence[int] | None, numbers: Sequence[int]) -> Sequence[int]:
    """The numbers of workers of a backend; a stack has those that are asked for, or its own.

    Args:
        asked: by --max-workers.
        numbers: for backends in general.
    """
    if backend in BASELINES:
        return [1]
    if not backend.startswith(STACK):
        return numbers
    own = backend_class(backend).configured_workers()
    return [1] if own is None else asked or [own]
