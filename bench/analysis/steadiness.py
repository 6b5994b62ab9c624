"""Whether runs of the same case differ too much, and the noise verdict on a whole results file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.analysis.estimates import MIN_SAMPLES
from bench.machine.noise import NOISY, Reason, Verdict, judge_machine, reason_above
from bench.results.store import Measurement, Results

# The share from which it counts as noise, and that from which results are unusable.
SPREAD = (0.1, 0.3)  # between the quartiles of a case, over its median
DRIFT = (0.3, 1.0)  # of the whole machine's speed, between blocks
CASES = 0.25  # share of the cases that may spread more


def judge(results: Results) -> Verdict:
    """The verdict on a results file: what else used the machine, and how its runs differ."""
    machine = judge_machine(results.header["machine"], results.interference)
    return Verdict.of([*machine.reasons, *unsteadiness(results.measurements)])


def unsteadiness(measurements: Sequence[Measurement]) -> list[Reason]:
    """How much runs of a case vary, leaving out what slowed down a whole block."""
    wall_s: dict[object, dict[int, float]] = {}
    for measurement in measurements:
        if not measurement.case.is_simulated:  # these repeat what the sequential runs show
            wall_s.setdefault(measurement.case, {})[measurement.block] = measurement.wall_s
    wall_s = {case: by_block for case, by_block in wall_s.items() if len(by_block) >= MIN_SAMPLES}
    if not wall_s:
        text = f"with fewer than {MIN_SAMPLES} blocks, the stability of the runs cannot be judged"
        return [Reason("few blocks", NOISY, text, "Measure more blocks.")]
    slowness = {case: _slowness(by_block) for case, by_block in wall_s.items()}
    blocks = {block for by_block in wall_s.values() for block in by_block}
    pace = {block: _pace(slowness.values(), block) for block in blocks}
    spreads = {}
    for case, own in slowness.items():
        others = [other for other_case, other in slowness.items() if other_case != case]
        rest = [own[block] - _pace(others, block) for block in own]
        low, high = np.percentile(rest, [25, 75])
        spreads[case] = float(np.expm1(high - low))
    worst = max(spreads, key=lambda case: spreads[case])
    usual = float(np.quantile(list(spreads.values()), 1 - CASES))
    low, high = np.percentile(list(pace.values()), [25, 75])
    drift = float(np.expm1(high - low))
    return [
        *reason_above(
            "unstable samples",
            usual,
            SPREAD,
            f"in a quarter of the cases, runs of the same case differ by {100 * usual:.0f} % or"
            f" more; the worst case is {worst}",
            "Measure more blocks, or longer tasks.",
        ),
        *reason_above(
            "drift",
            drift,
            DRIFT,
            f"the machine's speed changed by {100 * drift:.0f} % between blocks",
            "Measure more blocks, at a quieter time.",
        ),
    ]


def _pace(slowness: Iterable[dict[int, float]], block: int) -> float:
    """How much slower than usual these cases were in a block, as a logarithm."""
    in_block = [by_block[block] for by_block in slowness if block in by_block]
    return float(np.median(in_block)) if in_block else 0.0


def _slowness(wall_s: dict[int, float]) -> dict[int, float]:
    """Logarithms of the wall times over their median, by block."""
    median_s = float(np.median(list(wall_s.values())))
    return {block: float(np.log(block_s / median_s)) for block, block_s in wall_s.items()}
