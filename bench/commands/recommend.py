"""`bench recommend`: which backend, and how many workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from bench import BenchError
from bench.analysis.estimates import Estimate
from bench.analysis.summary import finding_of, summarise
from bench.commands.exit_codes import UNSURE
from bench.commands.terminal import answer_alone, first_column, progress, wrapped
from bench.machine.noise import UNUSABLE
from bench.measure.plan import Plan, RunOptions, plan
from bench.measure.prepared import graph_of
from bench.predict.profiler import Profiler
from bench.predict.worker_counts import parsed_counts
from bench.recommend.advisor import Advisor
from bench.recommend.recommendation import Candidate, Recommendation
from bench.results.store import read_results
from bench.workloads.duration import shown
from bench.workloads.kernels import calibrate
from executors import Graph, usable_cpus
from executors.backends import SIMULATED
from executors.core.records import describe
from executors.imports.interpreter import current_folder
from reports.recommendation import draw_recommendations

SHAPES = "fan-in:width=16,diamond-chain,chain"
RUN = {"backends", "max_workers", "seed", "no_verify"}
SHAPED = {*RUN, "shapes", "kernel", "workflow", "scale"}
ONLY_WITH = {"graph": RUN, "pipeline": {"max_workers", "steps"}, "results": set[str]()}


@dataclass(frozen=True, slots=True)
class RecommendRequest:
    """What to recommend for, and how; at most one of graph, pipeline and results.

    Attributes:
        graph: module:function, whose function returns a Graph.
        pipeline: the name of a ZenML pipeline.
        results: a results file or its folder.
    """

    graph: str | None
    pipeline: str | None
    results: Path | None
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
    request = _of_command_line(request, named)
    if SIMULATED in (options.backends or "").split(","):
        raise BenchError("--backends simulated runs nothing, so it is never recommended")
    if request.output is not None:
        request.output.mkdir(parents=True, exist_ok=True)
    advice: list[Recommendation] = []
    try:
        with answer_alone(request.form == "json"):
            for recommendation in _recommendations(options, request):
                advice.append(recommendation)
                if request.form == "text":
                    _show(recommendation)
    finally:  # an interrupt must not lose finished recommendations
        if advice:
            _write(advice, request)
    return 0 if all(recommendation.pick for recommendation in advice) else UNSURE


def _write(advice: Sequence[Recommendation], request: RecommendRequest) -> None:
    text = json.dumps([_content(recommendation) for recommendation in advice], indent=1)
    if request.output is not None:  # first: nobody may be reading what is printed
        (request.output / "recommend.json").write_text(text + "\n", encoding="utf-8")
        draw_recommendations(advice, usable_cpus(), request.output / "recommend")
    if request.form == "json":
        click.echo(text)
    elif request.output is not None:
        click.echo(f"Figure, also as PNG, and JSON: {request.output / 'recommend.svg'}")


def _check_options(named: Collection[str]) -> None:
    """Refuses options that would have no effect."""
    sources = [name for name in ONLY_WITH if name in named]
    if len(sources) > 1:
        raise BenchError(f"--{sources[0]} and --{sources[1]} cannot be combined")
    source = sources[0] if sources else "shapes"
    useless = sorted((SHAPED | {"steps"}) & set(named) - ONLY_WITH.get(source, SHAPED))
    if useless:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in useless)
        raise BenchError(f"no effect with --{source}: {words}; leave it out")


def _of_command_line(request: RecommendRequest, named: Collection[str]) -> RecommendRequest:
    """Drops a configured source if the command line names another one."""
    sources = {*ONLY_WITH, "shapes", "kernel", "workflow"}
    if not sources & set(named):
        return request
    dropped: dict[str, Any] = {name: None for name in ONLY_WITH if name not in named}
    return replace(request, **dropped)


def _recommendations(options: RunOptions, request: RecommendRequest) -> Iterator[Recommendation]:
    if request.pipeline is not None:
        from bench.recommend.pipelines import recommend_for_pipeline

        yield recommend_for_pipeline(request.pipeline, _numbers(options), request.steps)
    elif request.results is not None:
        yield from _from_results(request.results)
    else:
        if options.shapes is None and not options.workflow:
            options = replace(options, shapes=SHAPES)
        planned = plan(options, usable_cpus())
        if request.graph is not None:
            yield _for_graph(load_graph(request.graph), planned, request)
        else:
            yield from _for_shapes(planned, request)


def _for_graph(graph: Graph, planned: Plan, request: RecommendRequest) -> Recommendation:
    names = list(dict.fromkeys(case.backend for case in planned.cases))
    with Profiler(names) as profiler:
        advisor = Advisor(profiler, planned.options.seed)
        models = profiler.task_models_of(graph)
        counts = _numbers(planned.options)
        return advisor.recommend(str(request.graph), graph, models, counts, request.verify)


def _for_shapes(planned: Plan, request: RecommendRequest) -> Iterator[Recommendation]:
    names = list(dict.fromkeys(case.backend for case in planned.cases))
    pairs = list(dict.fromkeys((case.shape, case.kernel) for case in planned.cases))
    shapes = {shape.text: shape for shape in planned.shapes}
    kernels = {kernel.text: kernel for kernel in planned.kernels}
    counts = _numbers(planned.options)
    with (
        progress(len(pairs), f"{len(pairs)} graphs", request.quiet) as bar,
        Profiler(names) as profiler,
    ):
        advisor = Advisor(profiler, planned.options.seed)
        for shape, kernel in pairs:
            work = calibrate(kernels[kernel])
            graph = graph_of(shapes[shape], kernels[kernel], work)
            models = profiler.task_models(kernels[kernel], work)
            name = f"{shape}, {kernel}"
            yield advisor.recommend(name, graph, models, counts, request.verify)
            bar.update(1)


def _numbers(options: RunOptions) -> list[int] | None:
    return None if options.max_workers is None else parsed_counts(options.max_workers)


def load_graph(spec: str) -> Graph:
    """The graph that module:function returns; modules in the current folder are found, too.

    Raises:
        BenchError: there is no such function, it fails, or it does not return a Graph.
    """
    module_name, _, function = spec.partition(":")
    if not module_name or not function:
        raise BenchError(f"--graph must be module:function, like my_tasks:make_graph, not {spec!r}")
    here = current_folder()
    if here is not None:
        sys.path.insert(0, str(here))
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise BenchError(
            f"--graph {spec}: cannot import {module_name} ({describe(error)})"
        ) from error
    make = getattr(module, function, None)
    if not callable(make):
        raise BenchError(f"--graph {spec}: {module_name} has no function {function}")
    try:
        graph = make()
    except (Exception, SystemExit) as error:
        raise BenchError(f"--graph {spec}: {function}() failed ({describe(error)})") from error
    if not isinstance(graph, Graph):
        raise BenchError(
            f"--graph {spec}: {function}() must return a Graph, not {type(graph).__name__}"
        )
    return graph


def _from_results(path: Path) -> Iterator[Recommendation]:
    """What a finished `bench run` recommends."""
    results = read_results(path)
    summary = summarise(results)
    is_unusable = summary.verdict.level == UNUSABLE
    if not summary.groups:
        raise BenchError(f"{path} has no finished runs; continue it with: bench run --resume")
    for group in summary.groups:
        if len(group.measured) == 1:
            raise BenchError(f"{path} has only sequential runs; there is nothing to choose from")
        candidates = {
            row: Candidate(row.case.backend, row.case.workers, None, row.wall_s)
            for row in group.measured
        }
        baseline = group.measured[0].case
        runs = [run for run in results.measurements if run.case == baseline]
        finding = finding_of(group)
        yield Recommendation(
            name=f"{group.shape}, {group.kernel}",
            pick=None if is_unusable else candidates[group.pick],
            runner_up=candidates[group.rival] if group.rival else None,
            candidates=tuple(candidates.values()),
            span_s=min(run.span_s for run in runs),
            work_s=min(run.work_s for run in runs),
            parallelism=group.bound(),
            regret=None,
            reason=f"The machine was too noisy. {summary.verdict}"
            if is_unusable
            else f"{finding[0].upper()}{finding[1:]}.",
            verdict=summary.verdict,
        )


# -- showing --------------------------------------------------------------------------------------


def _show(advice: Recommendation) -> None:
    click.echo(f"{advice.name}: {advice.pick or 'cannot tell'}")
    columns = [name for name in ("predicted", "measured") if any(_estimates(advice, name))]
    heads = "".join(f"  {name + ' (range)':<20}" for name in columns)
    pad = first_column((candidate.backend for candidate in advice.candidates), 11)
    click.echo(f"  {pad('backend')}workers{heads}".rstrip())
    for candidate in advice.candidates:
        mark = "*" if candidate is advice.pick else " "
        cells = "".join(f"  {_with_range(getattr(candidate, name)):<20}" for name in columns)
        click.echo(f"{mark} {pad(candidate.backend)}{candidate.workers:>7}{cells}".rstrip())
    click.echo()
    for paragraph in _paragraphs(advice):
        wrapped(paragraph)
    if advice.command is not None:
        click.echo(f"To use it:\n  {advice.command}")
    click.echo()


def _paragraphs(advice: Recommendation) -> Iterator[str]:
    pick, runner_up = advice.pick, advice.runner_up
    if pick is not None and runner_up is not None:
        slower = runner_up.seconds / pick.seconds
        yield (
            f"Runner-up, the best of another backend: {runner_up}"
            f" ({_seconds(runner_up)}; {slower:.2f} times as long)."
        )
    if pick not in (None, advice.sequential):
        baseline = advice.sequential
        yield f"{advice.speedup:.2f} times as fast as sequential ({_seconds(baseline)})."
    yield advice.reason
    if advice.regret is not None and pick is not None:
        if advice.regret >= 0.005:
            yield f"At most {100 * advice.regret:.0f} % slower than any other measured candidate."
        else:
            yield "No other measured candidate is faster."
    limits = f"Critical path: {shown(advice.span_s)}; total work: {shown(advice.work_s)}"
    if advice.bound_s is not None:
        limits += f"; predicted lower bound with {pick}: {shown(advice.bound_s)}"
    yield f"{limits}."
    for sentence in advice.left_out:
        yield f"Left out: {sentence}"
    if not advice.verdict.is_clean and pick is not None:
        yield str(advice.verdict)


def _estimates(advice: Recommendation, name: str) -> list[Estimate]:
    estimates = [getattr(candidate, name) for candidate in advice.candidates]
    return [estimate for estimate in estimates if estimate is not None]


def _seconds(candidate: Candidate) -> str:
    how = "measured" if candidate.wall_s else "predicted"
    return f"{shown(candidate.seconds)}, {how}"


def _with_range(estimate: Estimate | None) -> str:
    """For example 190 ms (184-195): all of it in the same unit."""
    if estimate is None:
        return ""
    value, unit = shown(estimate.value).split()
    if estimate.low is None or estimate.high is None or not estimate.value:
        return f"{value} {unit}"
    factor = float(value) / estimate.value
    low, high = (f"{float(f'{factor * end:.3g}'):g}" for end in (estimate.low, estimate.high))
    return f"{value} {unit} ({low}-{high})"


def _content(advice: Recommendation) -> dict[str, Any]:
    content = asdict(advice)
    for values, candidate in zip(content["candidates"], advice.candidates, strict=True):
        values["measured"] = asdict(candidate.measured) if candidate.measured else None
    content["noise"] = advice.verdict.as_json()
    content["speedup"] = advice.speedup
    del content["verdict"]
    return content
