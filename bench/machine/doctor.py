"""What this machine can do, and what may spoil a measurement: the facts of `bench doctor`."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from statistics import median
from typing import Any

import click
import psutil

from bench.machine import lock
from bench.machine.blas import BLAS_VARIABLES
from bench.machine.build import build_facts
from bench.machine.counters import SystemCounters, others_running
from bench.machine.facts import PACKAGES, describe_machine, describe_versions
from bench.machine.noise import judge_machine
from bench.machine.timing import side_by_side_s
from bench.workloads.kernels import calibrate, sized
from executors import ExecutorError, load_backend
from executors.cpus import OVERRIDE, CpuBudget, cpu_budget, quotas

LOADED = ("numpy", "matplotlib", "psutil")  # what a run loads, and may switch the lock on
CEILING_S = 0.1  # length of a loop
CEILING_ROUNDS = 3
START_TIMEOUT_S = 60.0  # for a few processes
STARTS = 4
WATCH_S = 1.0
LOW_CEILING = 0.75  # times the usable CPUs


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the examination.

    Attributes:
        section: CPUs, noise, Python or ZenML.
        advice: what to do about it; empty if all is well.
        data: the same in numbers and names, for programs; their names say the units.
    """

    section: str
    name: str
    value: str
    advice: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def examine(root: Path = Path("/")) -> Iterator[Fact]:
    """Yields the facts one by one; measures for a few seconds.

    Args:
        root: holds the `proc` and `sys` from which limits are read.
    """
    budget = cpu_budget(root)
    yield from _cpus(budget, quotas(root))
    yield _ceiling(budget.usable)
    yield from _noise(budget)
    yield from _python(budget)
    yield from _zenml()


def _cpus(budget: CpuBudget, limits: dict[Path, float]) -> Iterator[Fact]:
    machine = describe_machine()
    model = {"model": machine["cpu"], "architecture": machine["architecture"]}
    yield Fact("CPUs", "processor", f"{machine['cpu']}, {machine['architecture']}", data=model)
    physical = psutil.cpu_count(logical=False)
    cores = "" if physical is None else f", {physical} physical cores"
    data: dict[str, Any] = {"logical": budget.installed, "physical": physical}
    yield Fact("CPUs", "installed", f"{budget.installed} logical CPUs{cores}", data=data)
    if budget.affinity is not None:
        text = f"{budget.affinity} (see: taskset -p $$)"
        yield Fact("CPUs", "affinity", text, data={"cpus": budget.affinity})
    for folder, cpus in limits.items():
        data = {"cpus": cpus, "set_by": str(folder)}
        yield Fact("CPUs", "cgroup quota", f"{cpus:g} CPUs, set by {folder}", data=data)
    if not limits:
        yield Fact("CPUs", "cgroup quota", "none", data={"cpus": None, "set_by": None})
    if budget.override is not None:
        data = {"cpus": budget.override}
        yield Fact("CPUs", "override", f"{OVERRIDE}={budget.override}", data=data)
    advice = ""
    if budget.override is None and budget.usable < budget.installed:
        advice = f"Tools that use os.cpu_count() start {budget.installed} workers here."
    data = {"cpus": budget.usable, "why": _why(budget)}
    yield Fact("CPUs", "usable", f"{budget.usable}, {_why(budget)}", advice, data)
    memory = psutil.virtual_memory()
    text = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    data = {"available_bytes": memory.available, "total_bytes": memory.total}
    yield Fact("CPUs", "memory", text, data=data)


def _why(budget: CpuBudget) -> str:
    """The limit that decides."""
    if budget.override is not None:
        return f"set by {OVERRIDE}"
    if budget.quota is not None and budget.usable < (budget.affinity or budget.installed):
        return "because of the quota"
    if budget.affinity is not None and budget.affinity < budget.installed:
        return "because of the affinity"
    return "all that are installed"


def _noise(budget: CpuBudget) -> Iterator[Fact]:
    before = SystemCounters()
    running = others_running(WATCH_S)
    meanwhile = SystemCounters().since(before, "", 0, 0)
    machine = {"cpus": {**asdict(budget), "usable": budget.usable}, "others_running": running}
    reasons = judge_machine(machine, [meanwhile]).reasons
    advice = {reason.what: reason.advice for reason in reasons}
    averages = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    data: dict[str, Any] = {"averages": list(os.getloadavg())}
    yield Fact("noise", "load", f"{averages} in 1, 5 and 15 minutes", data=data)
    if running is not None:
        running_text = f"{running:.1f} other processes"
        data = {"processes": running}
        yield Fact("noise", "runnable now", running_text, advice.get("load", ""), data)
    used = max(0.0, meanwhile.foreign_s / meanwhile.wall_s)
    text = f"{used:.2f} CPUs used by other processes"
    yield Fact("noise", "foreign CPU", text, advice.get("foreign CPU", ""), {"cpus": used})
    cpus = budget.affinity or budget.installed
    for name, lost_s, of in (
        ("steal", meanwhile.steal_s, cpus),
        ("throttling", meanwhile.throttled_s, cpus),
        ("pressure", meanwhile.stalled_s, 1),
    ):
        share = None if lost_s is None else lost_s / meanwhile.wall_s / of
        text = "not known on this system" if share is None else f"{100 * share:.0f} %"
        yield Fact("noise", name, text, advice.get(name, ""), {"share": share})


def _ceiling(cpus: int) -> Fact:
    """The joint speed of `cpus` independent processes, over that of one."""
    if cpus == 1:
        text = "1: there is one CPU"
        return Fact("CPUs", "measured ceiling", text, data={"processes": 1, "speed": 1.0})
    work = calibrate(sized("native-cpu:1ms"))
    count = round(CEILING_S / 1e-3)
    with load_backend("processes", cpus) as pool:
        side_by_side_s(pool, work, count, cpus)
        ceiling = median(
            cpus * side_by_side_s(pool, work, count, 1) / side_by_side_s(pool, work, count, cpus)
            for _ in range(CEILING_ROUNDS)
        )
    advice = ""
    if ceiling < LOW_CEILING * cpus:
        advice = (
            "Other programs use the CPUs now, or CPUs share a core, which virtual machines do not"
            " show: expect no higher speedup than this."
        )
    reached = f"{cpus} processes are {ceiling:.2f} times as fast as one"
    data = {"processes": cpus, "speed": ceiling}
    return Fact("CPUs", "measured ceiling", reached, advice, data)


def _python(budget: CpuBudget) -> Iterator[Fact]:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        lock.watch()
        for name in LOADED:
            import_module(name)
    versions = describe_versions()
    data: dict[str, Any] = {name: versions[name] for name in ("python", "gil", "abi")}
    text = f"{versions['python']}, GIL {versions['gil']}"
    advice = ""
    if (found := lock.state()) is not None:
        state, switched_on_by = found
        text += f" after loading {', '.join(LOADED)}"
        if state == "on":
            by = ", ".join(switched_on_by) or "an environment variable or option"
            advice = f"Threads take turns: {by} switched the interpreter lock on."
    yield Fact("Python", "interpreter", text, advice, data)
    build = f"{versions['compiler']}, {versions['optimisation']}"
    configured = build_facts()["configured"]
    yield Fact("Python", "build", build, data={"build": build, "configured": configured})
    default = get_context().get_start_method()
    for method in get_all_start_methods():
        advice = ""
        if method == default == "fork":
            advice = "Do not fork a process that runs threads; the process backend never forks."
        name = f"start by {method}" + (" (default)" if method == default else "")
        try:
            first_s, *later_s = _starts_s(method)
            costs = f"{1e3 * first_s:.0f} ms, then {1e3 * median(later_s):.0f} ms per process"
            data = {"first_s": first_s, "later_s": median(later_s)}
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            output = getattr(error, "stderr", None) or str(error)
            costs, advice = "does not work here", str(output).strip().splitlines()[-1]
            data = {"first_s": None, "later_s": None}
        is_default = method == default
        yield Fact("Python", name, costs, advice, {"method": method, "default": is_default, **data})
    with load_backend("processes", budget.usable) as pool:
        pass
    text = f"{1e3 * pool.start_s:.0f} ms for {budget.usable} workers, once"
    data = {"start_s": pool.start_s, "workers": budget.usable}
    yield Fact("Python", "process backend", text, data=data)
    threads = {os.environ.get(name) for name in BLAS_VARIABLES} - {None}
    limited = ", ".join(sorted(str(limit) for limit in threads))
    if threads:
        text = f"{limited}, from the environment"
        yield Fact("Python", "BLAS threads", text, data={"limit": limited})
    else:
        yield Fact(
            "Python",
            "BLAS threads",
            f"not limited: each worker may start {budget.installed}",
            f"Set OMP_NUM_THREADS=1, or {budget.usable} workers use up to"
            f" {budget.usable * budget.installed} threads on {budget.usable} CPUs.",
            {"limit": None},
        )
    for name in PACKAGES:
        yield Fact("Python", name, versions[name], data={"version": versions[name]})


def _starts_s(method: str) -> list[float]:
    """Seconds to start and end a process by a method of multiprocessing, several times.

    In a fresh interpreter, because this one may run threads, and in a folder that exists.
    """
    script = (
        "import multiprocessing, time\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        f"    for _ in range({STARTS}):\n"
        "        start_s = time.perf_counter()\n"
        "        process = context.Process(target=int)\n"
        "        process.start()\n"
        "        process.join()\n"
        "        print(time.perf_counter() - start_s)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=sys.prefix,
        capture_output=True,
        text=True,
        check=True,
        timeout=START_TIMEOUT_S,
    )
    return [float(line) for line in done.stdout.split()[-STARTS:]]


def _zenml() -> Iterator[Fact]:
    """Whether `local_threaded` is registered; ZenML is heavy, so another process finds out."""
    if find_spec("zenml") is None:
        try:
            import_module("executors.zenml")
        except ExecutorError as error:
            yield Fact("ZenML", "package", "not installed", str(error))
        return
    folder = Path(os.environ.get("ZENML_CONFIG_PATH") or click.get_app_dir("zenml"))
    if not (folder / "config.yaml").exists():
        value = f"not set up yet in {folder}"
        yield Fact("ZenML", "store", value, "The first use sets it up: bench zenml install")
        return
    start_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-c", ZENML_SCRIPT], capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("= ")]
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield Fact("ZenML", "store", f"cannot be used: {reason[:200]}", "See: zenml status")
        return
    took_s = time.perf_counter() - start_s
    for line in lines:
        name, _, value = line[2:].partition(": ")
        advice = ""
        if name == "local_threaded" and value == "not registered":
            advice = "Register it with: bench zenml install"
        yield Fact("ZenML", name, value, advice, {"name": value})
    yield Fact("ZenML", "response time", f"{took_s:.1f} s", data={"seconds": took_s})


ZENML_SCRIPT = """
from zenml.client import Client
client = Client()
store = client.zen_store
print(f"= store: {store.url}")
print(f"= active stack: {client.active_stack_model.name}")
names = [component.name
         for component in client.list_stack_components(type="orchestrator", size=1000)
         if component.flavor_name == "local_threaded"]
print(f"= local_threaded: {', '.join(names) or 'not registered'}")
"""
