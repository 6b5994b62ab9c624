"""`bench recommend`: which backend, and how many workers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from bench import BenchError
from bench.analysis.estimates import Estimate
from bench.analysis.summary import finding_of, summarise
from bench.commands.report import is_terminal, wrapped
from bench.machine.noise import UNUSABLE, judge
from bench.measure.plan import Options, plan, worker_counts
from bench.measure.prepared import graph_of
from bench.predict.profiler import Profiler
from bench.recommend.advisor import Advisor
from bench.recommend.recommendation import Candidate, Recommendation
from bench.results.store import read_results
from bench.workloads.kernels import calibrate
from executors import Graph, usable_cpus
from reports.markdown import duration
from reports.recommendation import draw_recommendations

CANNOT_TELL = 4
SHAPES = "fan-in:width=16,diamond-chain,chain"
RUN = {"backends", "max_workers", "seed", "verify"}
SHAPED = {*RUN, "shapes", "kernel", "workflow", "scale"}
ONLY_WITH = {"graph": RUN, "pipeline": {"max_workers", "steps"}, "results": set[str]()}


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


def recommend(options: Options, settings: Settings, named: Collection[str]) -> int:
    """Measures, prints and, if a folder is given, draws; the exit code: 4 if it cannot tell.

    Args:
        named: the options that the command line names.
    """
    _check_options(named)
    if "simulated" in (options.backends or "").split(","):
        raise BenchError("--backends simulated runs nothing, so it is never recommended")
    if settings.output is not None:
        settings.output.mkdir(parents=True, exist_ok=True)
    found: list[Recommendation] = []
    try:
        with _answer_alone(settings.form == "json"):
            for each in _recommendations(options, settings):
                found.append(each)
                if settings.form == "text":
                    _show(each)
    finally:  # what is finished when it is interrupted is not lost
        if found:
            _write(found, settings)
    return 0 if all(each.pick for each in found) else CANNOT_TELL


@contextmanager
def _answer_alone(wanted: bool) -> Iterator[None]:
    """What tasks and libraries print goes to standard error, if nothing but JSON is wanted."""
    if not wanted or sys.stdout is None:
        yield
        return
    sys.stdout.flush()
    with ExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(sys.stderr or nowhere))
        kept = os.dup(1)
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 1)
        os.dup2(2 if sys.stderr else nowhere.fileno(), 1)  # that of the workers
        yield


def _write(found: Sequence[Recommendation], settings: Settings) -> None:
    text = json.dumps([_content(each) for each in found], indent=1)
    if settings.form == "json":
        click.echo(text)
    if settings.output is not None:
        (settings.output / "recommend.json").write_text(text + "\n", encoding="utf-8")
        draw_recommendations(found, usable_cpus(), settings.output / "recommend")
        if settings.form == "text":
            click.echo(f"Figure, also as PNG, and JSON: {settings.output / 'recommend.svg'}")


def _check_options(named: Collection[str]) -> None:
    """An option that would do nothing is a mistake."""
    sources = [name for name in ONLY_WITH if name in named]
    if len(sources) > 1:
        raise BenchError(f"--{sources[0]} and --{sources[1]} are two questions; ask one at a time")
    source = sources[0] if sources else "shapes"
    useless = sorted((SHAPED | {"steps"}) & set(named) - ONLY_WITH.get(source, SHAPED))
    if useless:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in useless)
        raise BenchError(f"{words}: does nothing beside --{source}; leave it out")


def _recommendations(options: Options, settings: Settings) -> Iterator[Recommendation]:
    if settings.pipeline is not None:
        from bench.recommend.pipelines import recommend_for_pipeline

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
        with Profiler(names) as profiler:
            advisor = Advisor(profiler, options.seed)
            views = profiler.views_of(graph)
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
        Profiler(names) as profiler,
    ):
        advisor = Advisor(profiler, options.seed)
        for shape, kernel in bar:
            work = calibrate(kernels[kernel])
            graph = graph_of(shapes[shape], kernels[kernel], work)
            views = profiler.views(kernels[kernel], work)
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
    except (Exception, SystemExit) as error:
        raise BenchError(f"--graph {spec}: cannot import {module_name} ({_told(error)})") from error
    make = getattr(module, function, None)
    if not callable(make):
        raise BenchError(f"--graph {spec}: {module_name} has no function {function}")
    try:
        made = make()
    except (Exception, SystemExit) as error:
        raise BenchError(f"--graph {spec}: {function}() failed ({_told(error)})") from error
    if not isinstance(made, Graph):
        raise BenchError(f"--graph {spec}: {function}() gave {type(made).__name__}, no Graph")
    return made


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _measured(path: Path) -> Iterator[Recommendation]:
    """What a finished `bench run` says."""
    results = read_results(path)
    verdict = judge(results)
    for group in summarise(results):
        rows = [row for row in group.rows if not row.is_simulated]
        if len(rows) == 1:
            raise BenchError(f"{path} has only sequential runs; there is nothing to choose from")
        candidates = {
            row: Candidate(row.case.backend, row.case.workers, None, row.wall_s) for row in rows
        }
        made = [each for each in results.measurements if each.case == rows[0].case]
        is_unusable = verdict.level == UNUSABLE
        finding = finding_of(group)
        yield Recommendation(
            name=f"{group.shape}, {group.kernel}",
            pick=None if is_unusable else candidates[group.pick],
            runner_up=candidates[group.rival] if group.rival else None,
            candidates=tuple(candidates.values()),
            span_s=min(each.span_s for each in made),
            work_s=min(each.work_s for each in made),
            parallelism=group.bound(),
            regret=None,
            reason=f"The machine was too noisy. {verdict}"
            if is_unusable
            else f"{finding[0].upper()}{finding[1:]}.",
            verdict=verdict,
        )


def _show(found: Recommendation) -> None:
    click.echo(f"{found.name}: {found.pick or 'cannot tell'}")
    columns = [name for name in ("predicted", "measured") if any(_estimates(found, name))]
    heads = "".join(f"  {name + ' (range)':<20}" for name in columns)
    click.echo(f"  backend    workers{heads}".rstrip())
    for each in found.candidates:
        mark = "*" if each is found.pick else " "
        cells = "".join(f"  {_with_range(getattr(each, name)):<20}" for name in columns)
        click.echo(f"{mark} {each.backend:<10} {each.workers:>7}{cells}".rstrip())
    click.echo()
    if found.pick is not None and found.runner_up is not None:
        slower = found.runner_up.seconds / found.pick.seconds
        wrapped(
            f"Runner-up, the best of another backend: {found.runner_up},"
            f" {_seconds(found.runner_up)} ({slower:.2f} times as long)."
        )
    if found.pick not in (None, found.sequential):
        wrapped(f"{found.speedup:.2f} times as fast as sequential, {_seconds(found.sequential)}.")
    wrapped(found.reason)
    if found.regret is not None and found.pick is not None:
        by = f"at most {100 * found.regret:.0f} %" if found.regret >= 0.005 else "not"
        wrapped(f"Surely {by} slower than any other that was measured.")
    limits = f"Critical path: {duration(found.span_s)}; all tasks: {duration(found.work_s)}"
    if found.bound_s is not None:
        limits += f"; so {found.pick} would need at least {duration(found.bound_s)}"
    wrapped(f"{limits}.")
    for sentence in found.left_out:
        wrapped(f"Left out: {sentence}")
    if not found.verdict.is_clean and found.pick is not None:
        wrapped(str(found.verdict))
    if found.command is not None:
        click.echo(f"To use it:\n  {found.command}")
    click.echo()


def _estimates(found: Recommendation, name: str) -> list[Estimate]:
    made = [getattr(each, name) for each in found.candidates]
    return [each for each in made if each is not None]


def _seconds(candidate: Candidate) -> str:
    how = "measured" if candidate.wall_s else "predicted"
    return f"{duration(candidate.seconds)} {how}"


def _with_range(estimate: Estimate | None) -> str:
    """As 190 ms (184-195): all of it in the same unit."""
    if estimate is None:
        return ""
    value, unit = duration(estimate.value).split()
    if estimate.low is None or estimate.high is None or not estimate.value:
        return f"{value} {unit}"
    factor = float(value) / estimate.value
    return f"{value} {unit} ({factor * estimate.low:.3g}-{factor * estimate.high:.3g})"


def _content(found: Recommendation) -> dict[str, Any]:
    content = asdict(found)
    for candidate, made in zip(content["candidates"], found.candidates, strict=True):
        candidate["measured"] = asdict(made.measured) if made.measured else None
    content["noise"] = {
        "level": found.verdict.level,
        "reasons": [each.text for each in found.verdict.reasons],
    }
    content["speedup"] = found.speedup
    del content["verdict"]
    return content
