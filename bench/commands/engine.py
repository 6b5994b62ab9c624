"""`bench recommend --engine`: when leaving this machine pays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from bench import BenchError
from bench.measure.backend_options import option_names, with_environment
from bench.measure.backend_options import parsed as parsed_options
from bench.measure.options import RunOptions
from bench.measure.plan import plan
from bench.measure.prepared import check_memory, graph_of
from bench.predict.profiler import Profiler
from bench.predict.worker_counts import parsed_counts
from bench.recommend.engine import EngineAdvice, EngineAdvisor, Offer
from bench.terminal.output import echo, wrapped
from bench.workloads.duration import shown
from bench.workloads.kernels import calibrate
from bench.workloads.payload import parsed as parsed_payload
from executors import load_backend, usable_cpus
from executors.core.tables import text_table

MULTIPLES = (2, 4, 8, 16)  # of this machine's CPUs, considered by default


def advice_on(
    options: RunOptions,
    engine: str,
    workers: str | None,
    progress: Callable[[str], object],
) -> Iterator[EngineAdvice]:
    """For each graph of the options, what an engine would be worth.

    Args:
        workers: numbers to consider; None means multiples of the CPU count.

    Raises:
        BenchError: an option is wrong, or it is not an engine for other machines.
        BackendError: the engine is not available here, or cannot start.
    """
    cpus = usable_cpus()
    if "address" not in option_names(engine):
        raise BenchError(f"--engine {engine} cannot leave this machine; name one such as dask")
    counts = (
        parsed_counts(workers, "--engine-workers")
        if workers
        else [factor * cpus for factor in MULTIPLES]
    )
    payloads = [parsed_payload(text.strip()) for text in options.payload.split(",")]
    texts = [text for text in options.backend_option if text.startswith(f"{engine}.")]
    of_engine = parsed_options(with_environment(texts, [engine]), [engine]).get(engine, {})
    others = tuple(text for text in options.backend_option if text not in texts)
    planned = plan(replace(options, payload="0", backend_option=others), cpus)
    check_memory(planned, max(payloads, key=attrgetter("size")))
    names = list(dict.fromkeys(case.backend for case in planned.cases))
    local = [name for name in names if name != engine]
    with Profiler(local, progress, planned.backend_options) as profiler:
        progress(f"measuring what {engine} adds to a task")
        with load_backend(engine, None if of_engine.get("address") else cpus, **of_engine) as pool:
            advisor = EngineAdvisor(profiler, pool, payloads)
        for own in planned.graphs:
            model = profiler.task_models_of(own.graph, own.name)[0]
            yield advisor.advise(own.name, own.graph, model, counts, None)
        for shape in planned.shapes:
            for kernel in planned.kernels:
                if kernel.fits(shape.lengths_s):
                    work = calibrate(kernel)
                    graph = graph_of(shape, kernel, work)
                    model = profiler.task_models(kernel, work)[0]
                    length_s = kernel.length_s if shape.lengths_s is None else None
                    name = f"{shape.text}, {kernel.text}"
                    progress(f"{name}: simulating it")
                    yield advisor.advise(name, graph, model, counts, length_s or None)


def show(advice: EngineAdvice) -> None:
    """Prints the answer, and the table behind it."""
    worth = advice.worth
    first = advice.offers[0]
    if worth is None:
        answer = f"stay on this machine: {first.local} takes {shown(first.local_s)}"
    else:
        answer = (
            f"{worth.workers} workers of {advice.engine} are worth it, {worth.speedup:.2f} times as"
            f" fast as {worth.local}"
        )
    echo(f"{advice.name}: {answer}")
    for line in text_table(*_table(advice), left=1):
        echo(line)
    echo()
    for payload, offers in groupby(advice.offers, key=lambda offer: offer.payload):
        if advice.length_s is not None:
            wrapped(_sentence(advice, payload, list(offers)))
    wrapped(
        f"Predicted from what {advice.engine} adds here, roughly; its workers are taken to have a"
        " core each like this machine's, however many they are."
    )
    echo()


def _table(advice: EngineAdvice) -> tuple[list[str], list[list[str]]]:
    titles = ["values", "workers", "predicted", "this machine", "speedup"]
    titles += ["pays from"] if advice.length_s is not None else []
    rows = []
    for offer in advice.offers:
        row = [offer.payload, str(offer.workers), shown(offer.engine_s), shown(offer.local_s)]
        row.append(f"{offer.speedup:.2f}")
        rows.append(row + ([_from(offer)] if advice.length_s is not None else []))
    return titles, rows


def _from(offer: Offer) -> str:
    return "never" if offer.pays_from_s is None else shown(offer.pays_from_s)


def _sentence(advice: EngineAdvice, payload: str, offers: Sequence[Offer]) -> str:
    what = "Without values" if payload == "0" else f"With {parsed_payload(payload).words}"
    paying = [offer for offer in offers if offer.pays_from_s is not None]
    if not paying:
        return f"{what}, {advice.engine} is not faster with any of these numbers of workers."
    least = min(paying, key=lambda offer: offer.pays_from_s or 0.0)
    return (
        f"{what}, {advice.engine} with {least.workers} workers is faster than this machine if tasks"
        f" take at least {shown(least.pays_from_s or 0.0)}; yours take"
        f" {shown(advice.length_s or 0.0)}."
    )


def content_of(advice: EngineAdvice) -> dict[str, Any]:
    """For JSON."""
    worth = advice.worth
    return {
        "name": advice.name,
        "engine": advice.engine,
        "length_s": advice.length_s,
        "worth_workers": None if worth is None else worth.workers,
        "offers": [{**asdict(offer), "speedup": offer.speedup} for offer in advice.offers],
    }


def write(advice: Sequence[EngineAdvice], folder: Path | None, form: str) -> None:
    """Writes and prints what stays."""
    text = json.dumps([content_of(one) for one in advice], indent=1)
    if folder is not None:
        (folder / "engine.json").write_text(text + "\n", encoding="utf-8")
    if form == "json":
        echo(text)
