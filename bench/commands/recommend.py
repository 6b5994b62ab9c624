"""`bench recommend`: which backend, and how many workers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from bench import BenchError
from bench.analysis.summary import summarise
from bench.machine.noise import Verdict
from bench.measure.harness import measure
from bench.measure.hosts.pythons import opened
from bench.measure.options import RunOptions
from bench.measure.plan import Plan, plan
from bench.measure.prepared import graph_of, prepare
from bench.predict.prediction import TaskModel
from bench.predict.profiler import Profiler
from bench.predict.worker_counts import parsed_counts
from bench.recommend.advisor import Advisor, blank_for
from bench.recommend.decision import corrections
from bench.recommend.from_results import recommendations_of
from bench.recommend.recommendation import Candidate, Recommendation
from bench.results.store import ResultsWriter, read_results
from bench.terminal.answers import show_answers, show_verdict
from bench.terminal.exit_codes import UNSURE
from bench.terminal.output import (
    STAR,
    answer_alone,
    echo,
    emphasised,
    warn,
    wrapped,
)
from bench.terminal.progress import Progress
from bench.workloads.duration import shown
from bench.workloads.kernels import calibrate
from executors import Graph, usable_cpus
from executors.backends import SIMULATED
from executors.core.tables import text_table
from reports.recommendation import draw_recommendations

SHAPES = "fan-in:width=16,diamond-chain,chain"
PYTHONS = {"python", "site"}
RUN = {"backends", "backend_option", "max_workers", "seed", "no_verify", "budget"} | PYTHONS
ENGINE = {"engine", "engine_workers", "payload"}
SHAPED = {*RUN, *ENGINE, "shapes", "kernel", "workflow", "scale"}
ONLY_WITH = {"graph": RUN | ENGINE, "pipeline": {"max_workers", "steps"}, "results": set[str]()}


@dataclass(frozen=True, slots=True)
class RecommendRequest:
    """What to recommend for, and how; at most one of pipeline and results.

    Attributes:
        pipeline: the name of a ZenML pipeline.
        results: a results file or its folder.
        engine: a backend that could have workers on other machines, and numbers of them.
    """

    pipeline: str | None
    results: Path | None
    engine: str | None
    engine_workers: str | None
    steps: str
    verify: bool
    form: str
    output: Path | None
    quiet: bool


def recommend(options: RunOptions, request: RecommendRequest, named: Collection[str]) -> int:
    """Measures, prints and, if a folder is given, draws; the exit code is 4 if it cannot tell.

    Args:
        named: the options on the command line.
    """
    _check_options(named)
    options, request = _of_command_line(options, request, named)
    if SIMULATED in (options.backends or "").split(","):
        raise BenchError("--backends simulated runs nothing, so it is never recommended")
    if request.output is not None:
        request.output.mkdir(parents=True, exist_ok=True)
    if request.engine is not None:
        return _engine(options, request)
    advice: list[Recommendation] = []
    try:
        with answer_alone(request.form == "json"), Progress(request.quiet) as progress:
            for recommendation in _recommendations(options, request, progress):
                advice.append(recommendation)
                progress.erase()
                if request.form == "text":
                    _show(recommendation)
    finally:  # an interrupt must not lose finished recommendations
        if advice:
            _write(advice, request)
    return 0 if all(recommendation.pick for recommendation in advice) else UNSURE


def _engine(options: RunOptions, request: RecommendRequest) -> int:
    """Says when an engine pays; the exit code is 0."""
    from bench.commands.engine import advice_on, show, write

    if options.shapes is None and not options.workflow and not options.graph:
        options = replace(options, shapes=SHAPES)
    advice = []
    try:
        with answer_alone(request.form == "json"), Progress(request.quiet) as progress:
            for one in advice_on(options, request.engine or "", request.engine_workers, progress):
                advice.append(one)
                progress.erase()
                if request.form == "text":
                    show(one)
    finally:
        if advice:
            write(advice, request.output, request.form)
    return 0


def _write(advice: Sequence[Recommendation], request: RecommendRequest) -> None:
    text = json.dumps([_content(recommendation) for recommendation in advice], indent=1)
    if request.output is not None:  # first: nobody may be reading what is printed
        (request.output / "recommend.json").write_text(text + "\n", encoding="utf-8")
        draw_recommendations(advice, request.output / "recommend")
    if request.form == "json":
        echo(text)
        return
    if request.output is not None:
        echo(f"Figure, also as PNG, and JSON: {request.output / 'recommend.svg'}\n")
    verdicts = {one.name: one.verdict for one in advice if one.verdict is not None}
    for name, verdict in verdicts.items():
        if not verdict.is_clean:  # first: it makes the picks doubtful
            show_verdict(verdict, name if len(advice) > 1 else "")
            echo()
    answers = [answer for one in advice if (answer := one.answer) is not None]
    is_clean = bool(verdicts) and all(verdict.is_clean for verdict in verdicts.values())
    show_answers(answers, Verdict() if is_clean else None)


def _check_options(named: Collection[str]) -> None:
    """Refuses options that would have no effect."""
    sources = [name for name in ONLY_WITH if name in named]
    if len(sources) > 1:
        raise BenchError(f"--{sources[0]} and --{sources[1]} cannot be combined")
    source = sources[0] if sources else "shapes"
    useless = sorted((SHAPED | {"steps"}) & set(named) - ONLY_WITH.get(source, SHAPED))
    unused = sorted({"max_workers", "no_verify", "budget", "seed", *PYTHONS} & set(named))
    if "engine" in named and unused:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise BenchError(f"no effect with --engine: {words}; leave out what has none")
    if "python" in named and "no_verify" in named:
        raise BenchError("no effect with --python: --no-verify; nothing is predicted of others")
    if "site" in named and "python" not in named:
        raise BenchError("--site is for the Pythons that --python names")
    if "engine" not in named and (alone := sorted(ENGINE & set(named))):
        raise BenchError(f"--{alone[0].replace('_', '-')} is for --engine, such as --engine dask")
    if useless:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in useless)
        raise BenchError(f"no effect with --{source}: {words}; leave out what has none")


def _of_command_line(
    options: RunOptions, request: RecommendRequest, named: Collection[str]
) -> tuple[RunOptions, RecommendRequest]:
    """Drops a configured source if the command line names another one."""
    sources = {*ONLY_WITH, "shapes", "kernel", "workflow"}
    if not sources & set(named):
        return options, request
    if "graph" not in named:
        options = replace(options, graph=())
    if "graph" in named:
        options = replace(options, shapes=None, workflow=())
    dropped: dict[str, Any] = {name: None for name in ("pipeline", "results") if name not in named}
    return options, replace(request, **dropped)


def _recommendations(
    options: RunOptions, request: RecommendRequest, progress: Progress
) -> Iterator[Recommendation]:
    if request.pipeline is not None:
        from bench.recommend.pipelines import recommend_for_pipeline

        yield recommend_for_pipeline(request.pipeline, _numbers(options), request.steps)
        return
    if request.results is not None:
        yield from _from_results(request.results)
        return
    if options.python is not None:
        if options.shapes is None and not options.workflow and not options.graph:
            options = replace(options, shapes=SHAPES.partition(",")[0])
        yield from _on_pythons(options, progress)
        return
    if options.shapes is None and not options.workflow and not options.graph:
        options = replace(options, shapes=SHAPES)
    planned = plan(options, usable_cpus())
    names = list(dict.fromkeys(case.backend for case in planned.cases))
    began_s, spent_s = monotonic(), 0.0
    left = len({(case.shape, case.kernel) for case in planned.cases})
    with Profiler(names, progress, planned.backend_options) as profiler:
        advisor = Advisor(profiler, planned.options.seed, progress)
        for blank, graph, models in _subjects(planned, profiler):
            budget_s = planned.budget_s
            if budget_s is not None:
                budget_s = max(0.0, budget_s - spent_s) / left
            left -= 1
            counts = _numbers(planned.options)
            yield advisor.recommend(blank, graph, models, counts, request.verify, budget_s)
            spent_s = monotonic() - began_s


def _on_pythons(options: RunOptions, progress: Progress) -> Iterator[Recommendation]:
    """Measures on each Python, as `bench run` does, into a folder that is removed.

    Nothing is predicted: what a backend takes was only ever modelled for this Python.
    """
    with opened(options) as pythons, TemporaryDirectory() as folder:
        planned = plan(options, usable_cpus(), pythons=pythons)
        for what, reason in planned.left_out.items():
            warn(f"{what} is left out: {reason}")
        prepared = prepare(planned, progress=progress)
        with ResultsWriter.create(Path(folder), prepared.header) as writer:
            measure(prepared, writer, progress=progress)
        yield from _from_results(Path(folder))


Subject = tuple[Recommendation, Graph, Sequence[TaskModel]]


def _subjects(planned: Plan, profiler: Profiler) -> Iterator[Subject]:
    """The graphs, each with a blank recommendation and the models of its tasks."""
    for own in planned.graphs:
        yield blank_for(own.name), own.graph, profiler.task_models_of(own.graph, own.name)
    for shape in planned.shapes:
        for kernel in planned.kernels:
            if kernel.fits(shape.lengths_s):
                work = calibrate(kernel)
                blank = blank_for(shape.text, kernel.text, kernel.kind.activity)
                yield blank, graph_of(shape, kernel, work), profiler.task_models(kernel, work)


def _numbers(options: RunOptions) -> list[int] | None:
    return None if options.max_workers is None else parsed_counts(options.max_workers)


def _from_results(path: Path) -> Iterator[Recommendation]:
    """What a finished `bench run` recommends."""
    results = read_results(path)
    for text in results.warnings:
        warn(text)
    summary = summarise(results)
    if summary.shortfall is not None:
        warn(summary.shortfall)
    if not summary.groups:
        raise BenchError(f"{path} has no finished runs; continue it with: bench run --resume")
    if not summary.answers:
        raise BenchError(f"{path} has only sequential runs; there is nothing to choose from")
    yield from recommendations_of(summary)


# -- showing --------------------------------------------------------------------------------------


def _show(advice: Recommendation) -> None:
    echo(f"{advice.name}: {advice.pick or 'cannot tell'}")
    for line in text_table(*advice.table(), left=2):
        echo(emphasised(line) if line.startswith(STAR) else line)
    echo()
    for paragraph in _paragraphs(advice):
        wrapped(paragraph)
    if advice.command is not None:
        echo(f"To use it:\n  {advice.command}")
    echo()


def _paragraphs(advice: Recommendation) -> Iterator[str]:
    pick, runner_up = advice.pick, advice.runner_up
    yield advice.reason
    if pick is not None and runner_up is not None:
        slower = runner_up.seconds / pick.seconds
        other = "backend or Python" if pick.python else "backend"
        yield (
            f"Runner-up, the best of another {other}: {runner_up}"
            f" ({_seconds(runner_up)}; {slower:.2f} times as long)."
            + (f" {_why_not(runner_up, pick)}" if slower < 1 else "")
        )
    if pick is not None and pick is not advice.sequential:
        how = "measured" if advice.sequential.wall_s and pick.wall_s else "predicted"
        yield f"{advice.speedup:.2f} times as fast as {advice.sequential.line}, {how}."
    if advice.regret is not None and pick is not None:
        if advice.regret >= 0.005:
            yield f"At most {100 * advice.regret:.0f} % slower than any other measured candidate."
        else:
            yield "No other measured candidate is faster."
    yield from corrections(advice)
    limits = f"Critical path: {shown(advice.span_s)}; total work: {shown(advice.work_s)}"
    if advice.bound_s is not None and pick is not None and advice.bound_s <= pick.seconds:
        limits += f"; predicted lower bound with {pick}: {shown(advice.bound_s)}"
    yield f"{limits}."
    for remark in advice.remarks:
        yield f"Beware: {remark}"
    for sentence in advice.left_out:
        yield f"Left out: {sentence}"


def _why_not(runner_up: Candidate, pick: Candidate) -> str:
    """Why a runner-up that is not slower was not picked."""
    if runner_up.workers > pick.workers:
        return "It needs more workers."
    return "It starts more slowly." if runner_up.start_s > pick.start_s else "It is not surely so."


def _seconds(candidate: Candidate) -> str:
    how = "measured" if candidate.wall_s else "predicted"
    return f"{shown(candidate.seconds)}, {how}"


def _content(advice: Recommendation) -> dict[str, Any]:
    content = {"name": advice.name, **asdict(advice)}
    for values, candidate in zip(content["candidates"], advice.candidates, strict=True):
        values["measured"] = asdict(candidate.measured) if candidate.measured else None
    content["noise"] = advice.verdict.as_json() if advice.verdict is not None else None
    content["speedup"] = advice.speedup
    content["answer"] = asdict(advice.answer) if advice.answer else None
    del content["verdict"]
    return content
