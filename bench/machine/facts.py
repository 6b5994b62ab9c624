"""What results depend on: the machine, the versions, the limits on this process."""

from __future__ import annotations

import os
import platform
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.machine.blas import BLAS_VARIABLES
from bench.machine.build import build_facts
from bench.machine.counters import others_running
from executors.cpus import cpu_budget

# The facts that must be equal for two runs to be comparable.
SAME_MACHINE = ("system", "architecture", "cpu", "cpus", "memory_bytes")

PACKAGES = ("executor-bench", "cloudpickle", "matplotlib", "numpy", "psutil", "zenml")


def memory_bytes() -> int:
    """The size of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def describe_machine() -> dict[str, Any]:
    """Machine, limits, load and BLAS settings, for the header of a results file.

    Blocks for half a second, in which it counts the other processes that want a CPU.
    """
    budget = cpu_budget()
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": {**asdict(budget), "usable": budget.usable},
        "memory_bytes": memory_bytes(),
        "load_1min": round(os.getloadavg()[0], 2),
        "others_running": others_running(),
        "blas_threads": {name: os.environ.get(name) for name in BLAS_VARIABLES},
    }


def describe_versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python and of the packages that matter, loaded or not.

    Args:
        more: names of packages that the backends use.
    """
    build = build_facts()
    versions = {
        "python": build["version"],
        "gil": build["gil"],
        "compiler": build["compiler"],
        "optimisation": build["optimisation"],
        "abi": str(sysconfig.get_config_var("SOABI")),
    }
    for package in (*PACKAGES, *more):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def differing_builds(pythons: Mapping[str, Mapping[str, str]]) -> str | None:
    """A sentence if Pythons are not built alike, so that not all differences are their versions'.

    Args:
        pythons: facts of each (see `build.py`), by name.
    """
    builds = {
        python: f"{facts['compiler']} {facts['optimisation']}" for python, facts in pythons.items()
    }
    if len(set(builds.values())) < 2:
        return None
    words = ", ".join(f"{python} with {build}" for python, build in builds.items())
    return (
        f"The Pythons are built differently: {words}. A part of what they differ in may come from"
        " that and not from their versions."
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
