"""The answer at the end of a command: a short table, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.answer import Answer, sentence
from bench.machine.noise import CLEAN, NOISY, UNUSABLE, Verdict
from bench.terminal.output import GUESS, STAR, echo, emphasised, first_column, wrapped

COLOURS = {CLEAN: "green", NOISY: "yellow", UNUSABLE: "red"}


def show_answers(
    answers: Sequence[Answer], verdict: Verdict | None, finding: str | None = None
) -> None:
    """Prints the picks, what they are in a sentence, and how quiet the machine was.

    A machine that was not quiet comes first, because it makes the rest doubtful.

    Args:
        verdict: None if there is none, or if it was printed already.
        finding: replaces the sentence.
    """
    if verdict is not None and not verdict.is_clean:
        show_verdict(verdict)
        echo()
    if answers:
        echo("\n".join(_table(answers)))
        echo()
    wrapped(finding or sentence(answers), bold=True)
    if any(not answer.is_sure for answer in answers):
        legend = f"{GUESS} marks a best guess: the runs do not decide."
        if any(answer.certainty.startswith("at least") for answer in answers if not answer.is_sure):
            legend += (
                ' "At least" compares its slowest run with the fastest sequential one, less 5 %.'
            )
        wrapped(legend)
    if verdict is not None and verdict.is_clean:
        echo()
        show_verdict(verdict)


def show_verdict(verdict: Verdict, name: str = "") -> None:
    """Prints how quiet the machine was, during the run of that name."""
    text = f"{name}: {verdict}" if name else str(verdict)
    wrapped(text, bold=not verdict.is_clean, colour=COLOURS[verdict.level])


def _table(answers: Sequence[Answer]) -> list[str]:
    """Less than 60 columns wide for the standard shapes."""
    pad = first_column((answer.kernel or answer.graph for answer in answers), 16)
    pad_where = first_column((answer.where for answer in answers), 17)
    lines = [f"  {pad('graph')}{pad_where('pick')} speedup  how sure"]
    graph = None
    for answer in answers:
        if answer.kernel and answer.graph != graph:
            lines.append(f"  {answer.graph}")
        graph = answer.graph
        speedup = "" if answer.speedup is None else f"{answer.speedup.value:.2f}"
        name = answer.kernel or answer.graph
        line = f"{pad(name)}{pad_where(answer.where)}{speedup:>8}  {answer.certainty}".rstrip()
        lines.append(f"{STAR if answer.is_sure else GUESS} {line}")
        if answer.is_sure:
            lines[-1] = emphasised(lines[-1])
    return lines
