"""Recommendations from measured results, without predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.analysis.summary import Summary, finding_of
from bench.recommend.advisor import blank_for
from bench.recommend.recommendation import Candidate, Recommendation


def recommendations_of(summary: Summary) -> Iterator[Recommendation]:
    """One for each shape and kernel in which there is something to choose from."""
    for group in summary.groups:
        if len(group.measured) == 1:
            continue  # nothing to choose from
        candidates = {
            row: Candidate(
                row.case.backend, row.case.workers, None, row.wall_s, python=row.case.python
            )
            for row in group.measured
        }
        baseline = group.measured[0].case
        runs = [run for run in summary.results.measurements if run.case == baseline]
        finding = finding_of(group)
        reason = f"{finding[0].upper()}{finding[1:]}."
        if group.guess is not None:
            reason = f"The runs do not decide. Best guess: {candidates[group.guess]}."
        blank = blank_for(group.shape, "" if group.is_own else group.kernel, group.activity)
        yield replace(
            blank,
            pick=candidates[group.pick] if group.guess is None else None,
            guess=candidates[group.guess] if group.guess else None,
            runner_up=candidates[group.rival] if group.rival else None,
            candidates=tuple(candidates.values()),
            span_s=min(run.span_s for run in runs),
            work_s=min(run.work_s for run in runs),
            parallelism=group.bound(),
            reason=reason,
            verdict=summary.verdict,
            cpus=summary.cpus,
        )
