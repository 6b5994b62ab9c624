"""Measures `local`, our flavors, `local_docker` and Airflow; writes the table of docs/stacks.md.

`nox -s bench_stacks` runs it on a Debian machine, as root, for half an hour. Everything is in one
folder, which is kept, so that the next time takes less: STACKS_FOLDER.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

FOLDER = Path(os.environ.get("STACKS_FOLDER") or f"{tempfile.gettempdir()}/executor-bench-stacks")
STORE = tempfile.TemporaryDirectory()
os.environ["ZENML_ANALYTICS_OPT_IN"] = "false"
os.environ["ZENML_CONFIG_PATH"] = STORE.name

from zenml.client import Client
from zenml.enums import StackComponentType

from bench.results.case import STACK
from bench.results.samples import Measurement
from bench.results.store import read_results
from bench.workloads.duration import shown
from benchmarks.stacks import airflow, containers
from benchmarks.table import put_into
from executors.cpus import usable_cpus
from executors.zenml.install import install
from executors.zenml.stacks.far import WITHOUT_CONTAINERS

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs/stacks.md"
STACKS = {
    "default": "local",
    "threaded": "local_threaded",
    "process": "local_process",
    "docker": "local_docker",
    "airflow": "airflow",
}
CHAIN = 5
EMPTY = f"chain:length={CHAIN}"
STEPS = {"fan-in:width=4": "fan-in of 4", "diamond": "diamond"}
KERNEL = "sleep:300ms"


def register(name: str, flavor: str, configuration: dict[str, Any]) -> None:
    """A stack with such an orchestrator, the default artifact store and an image builder."""
    kind = StackComponentType.ORCHESTRATOR
    Client().create_stack_component(name, flavor, kind, configuration)
    parts = {
        kind: name,
        StackComponentType.ARTIFACT_STORE: "default",
        StackComponentType.IMAGE_BUILDER: "local",
    }
    Client().create_stack(name, {part: [chosen] for part, chosen in parts.items()})


def set_up() -> str:
    """Registers the stacks; returns the command that starts runs of Airflow."""
    install("threaded")
    install("process", flavor="local_process")
    Client().create_stack_component("local", "local", StackComponentType.IMAGE_BUILDER, {})
    register("docker", "local_docker", {"run_args": {"network": "host"}})
    dags = str(airflow.dags(FOLDER / "airflow"))
    generator = {"custom_dag_generator": WITHOUT_CONTAINERS, "dag_output_dir": dags}
    register("airflow", "airflow", generator)
    return airflow.set_up(FOLDER / "airflow")


def measured(name: str, trigger: str, shapes: str, kernels: str) -> list[Measurement]:
    """Runs the bench on all stacks, into a folder of FOLDER."""
    folder = FOLDER / "results" / name
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "bench", "run", "--stacks", ",".join(STACKS)]
    command += ["--shapes", shapes, "--kernel", kernels, "-o", str(folder), "--yes"]
    command += ["--backend-option", f"stack:docker.image={containers.IMAGE}"]
    command += ["--backend-option", f"stack:airflow.trigger={trigger}"]
    subprocess.run(command, check=True)
    return list(read_results(folder).measurements)


def table(empty: list[Measurement], shapes: list[Measurement]) -> str:
    """A row for each stack: an empty step, the first pipeline, and the shapes over `local`."""

    def runs(measurements: list[Measurement], stack: str, shape: str) -> list[Measurement]:
        return [
            run for run in measurements if run.case.backend == STACK + stack and run.shape == shape
        ]

    lines = [
        "| flavor | an empty step | first pipeline | " + " | ".join(STEPS.values()) + " |",
        "| --- " * (3 + len(STEPS)) + "|",
    ]
    for stack, flavor in STACKS.items():
        mine = runs(empty, stack, EMPTY)
        cells = [
            f"`{flavor}`",
            shown(median(run.makespan_s / CHAIN for run in mine)),
            shown(median(run.start_s for run in mine)),
        ]
        for shape in STEPS:
            own, local = runs(shapes, stack, shape), runs(shapes, "default", shape)
            own_s, local_s = (median(run.makespan_s for run in part) for part in (own, local))
            cells.append(f"{shown(own_s)} ({local_s / own_s:.2f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with containers.daemon(FOLDER / "docker"):
        containers.image(FOLDER / "docker", PROJECT)
        trigger = set_up()
        empty = measured("empty", trigger, EMPTY, "noop")
        shapes = measured("shapes", trigger, ",".join(STEPS), KERNEL)
    versions = f"ZenML {version('zenml')}, {usable_cpus()} CPUs, {date.today()}"
    text = f"{table(empty, shapes)}\n({versions}.)\n"
    print(text)
    put_into(PAGE, "bench_stacks", text)


if __name__ == "__main__":
    main()
