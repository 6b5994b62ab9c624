"""`bench recommend`: which backend, and how many workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from bench import BenchError
from bench.commands.report import is_terminal, wrapped
from bench.harness import graph_of
from bench.kernels import calibrate
from bench.noise import judge
from bench.plan import Options, plan, worker_counts
from bench.recommend import Advisor
from bench.recommendation import Candidate, Recommendation
from bench.results import read_results
from bench.statistics import finding_of, summarise
from executors import Graph, usable_cpus
from reports.markdown import duration
from reports.recommendation import draw_recommendations

CANNOT_TELL = 4
SHAPES = "fan-in:width=16,diamond-chain,chain"


@dataclass(frozen=True, slots=True)
class Settings:
    """What to recommend for, and how; one of graph, pipeline and results, or none.

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


def recommend(options: Options, settings: Settings) -> int:
    """Measures, prints and, if a folder is given, draws; the exit code: 4 if it cannot tell."""
    wanted = {
        "--graph": settings.graph,
        "--pipeline": settings.pipeline,
        "--results": settings.results,
        "--shapes or --workflow": options.shapes or options.workflow or None,
    }
    if len(given := [name for name, value in wanted.items() if value is not None]) > 1:
        raise BenchError(f"recommend for one of {' and '.join(given)} at a time")
    if settings.output is not None:
        settings.output.mkdir(parents=True, exist_ok=True)
    found = []
    for each in _recommendations(options, settings):
        found.append(each)
        if settings.form == "text":
            _show(each)
    if settings.form == "json":
        click.echo(json.dumps([_content(each) for each in found], indent=1))
    if settings.output is not None:
        text = json.dumps([_content(each) for each in found], indent=1) + "\n"
        (settings.output / "recommend.json").write_text(text, encoding="utf-8")
        draw_recommendations(found, usable_cpus(), settings.output / "recommend")
        if settings.form == "text":
            click.echo(f"Figure: {settings.output / 'recommend.svg'}")
    return 0 if all(each.pick for each in found) else CANNOT_TELL


def _recommendations(options: Options, settings: Settings) -> Iterator[Recommendation]:
    if settings.pipeline is not None:
        from bench.pipelines import recommend_for_pipeline

        yield recommend_for_pipeline(settings.pipeline, _numbers(options), settings.steps)
        return
    if settings.results is not None:
        yield from _measured(settings.results)
        return
    if options.shapes is None and not options.workflow:
        options = replace(options, shapes=SHAPES)
    planned = plan(options, usable_cpus())
    names = list(dict.fromkeys(case.backend for case in planned.cases))
    if settings.graph is not None:
        graph = load_graph(settings.graph)
        with Advisor(names, options.seed) as advisor:
            views = advisor.views_of(graph)
            yield advisor.recommend(
                settings.graph, graph, views, _numbers(options), settings.verify
            )
        return
    pairs = list(dict.fromkeys((case.shape, case.kernel) for case in planned.cases))
    shapes = {shape.text: shape for shape in planned.shapes}
    kernels = {kernel.text: kernel for kernel in planned.kernels}
    with (
        click.progressbar(
            pairs,
            label=f"{len(pairs)} graphs",
            file=sys.stderr,
            hidden=settings.quiet or not is_terminal(sys.stderr),
            width=20,
        ) as bar,
        Advisor(names, options.seed) as advisor,
    ):
        for shape, kernel in bar:
            work = calibrate(kernels[kernel])
            graph = graph_of(shapes[shape], kernels[kernel], work)
            views = advisor.views(kernels[kernel], work)
            name = f"{shape}, {kernel}"
            yield advisor.recommend(name, graph, views, _numbers(options), settings.verify)


def _numbers(options: Options) -> list[int] | None:
    return None if options.max_workers is None else worker_counts(options.max_workers)


def load_graph(spec: str) -> Graph:
    """The graph that module:function returns; modules of the current folder are found as well.

    Raises:
        BenchError: there is no such function, it fails, or what it returns is no Graph.
    """
    module_name, _, function = spec.partition(":")
    if not module_name or not function:
        raise BenchError(f"--graph is module:function, as my_tasks:make_graph, not {spec!r}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = import_module(module_name)
    except Exception as error:
        raise BenchError(f"--graph {spec}: cannot import {module_name} ({_told(error)})") from error
    make = getattr(module, function, None)
    if not callable(make):
        raise BenchError(f"--graph {spec}: {module_name} has no function {function}")
    try:
        made = make()
    except Exception as error:
        raise BenchError(f"--graph {spec}: {function}() failed ({_told(error)})") from error
    if not isinstance(made, Graph):
        raise BenchError(f"--graph {spec}: the function returned {made!r}, not a Graph")
    return made


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _measured(path: Path) -> Iterator[Recommendation]:
    """What a finished `bench run` says."""
    results = read_results(path)
    verdict = judge(results)
    for group in summarise(results):
        rows = [row for row in group.rows if not row.is_simulated]
        candidates = {
            row: Candidate(row.case.backend, row.case.workers, None, row.wall_s) for row in rows
        }
        made = [each for each in results.measurements if each.case == rows[0].case]
        yield Recommendation(
            name=f"{group.shape}, {group.kernel}",
            pick=candidates[group.pick],
            runner_up=candidates[group.rival] if group.rival else None,
            candidates=tuple(candidates.values()),
            span_s=min(each.span_s for each in made),
            work_s=min(each.work_s for each in made),
            regret=None,
            reason=finding_of(group) + ".",
            verdict=verdict,
        )


def _show(found: Recommendation) -> None:
    click.echo(f"{found.name}: {found.pick or 'cannot tell'}")
    click.echo("  backend    workers  predicted  measured  range")
    for each in found.candidates:
        mark = "*" if each is found.pick else " "
        foreseen = "" if each.predicted is None else duration(each.predicted.value)
        measured = each.measured
        run = "" if measured is None else duration(measured.value)
        spread = measured or each.predicted
        span = ""
        if spread is not None and spread.low is not None and spread.high is not None:
            span = f"{duration(spread.low)} to {duration(spread.high)}"
        line = f"{mark} {each.backend:<10} {each.workers:>7} {foreseen:>10} {run:>9}  {span}"
        click.echo(line.rstrip())
    click.echo()
    if found.pick is not None and found.runner_up is not None:
        slower = found.runner_up.seconds / found.pick.seconds
        against = f"{found.speedup:.2f} times as fast as sequential; "
        wrapped(
            f"{'' if found.pick is found.sequential else against}runner-up: {found.runner_up},"
            f" {duration(found.runner_up.seconds)} ({slower:.2f} times as long)."
        )
    wrapped(found.reason)
    if found.regret is not None and found.pick is not None:
        by = f"at most {100 * found.regret:.0f} %" if found.regret >= 0.005 else "not"
        wrapped(f"Surely {by} slower than any other that was measured.")
    limits = f"Critical path: {duration(found.span_s)}; all tasks: {duration(found.work_s)}"
    if found.pick is not None and found.bound_s is not None:
        workers = found.pick.workers
        limits += f"; at best {duration(found.bound_s)} on {workers} worker{'s' * (workers > 1)}"
    wrapped(f"{limits}.")
    if not found.verdict.is_clean and found.pick is not None:
        wrapped(str(found.verdict))
    click.echo()


def _content(found: Recommendation) -> dict[str, Any]:
    content = asdict(found)
    content["noise"] = {
        "level": found.verdict.level,
        "reasons": [each.text for each in found.verdict.reasons],
    }
    content["bound_s"] = found.bound_s
    del content["verdict"]
    return content
