"""What `airflow dags test DAG` does, as far as our DAGs need it, for tests without Airflow.

It loads a DAG from its zip file, with stand-ins for Airflow's classes, and runs its tasks.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
import zipimport
from pathlib import Path
from typing import Any


class DAG:
    """Airflow's, as a list of tasks."""

    current: DAG

    def __init__(self, dag_id: str, **arguments: Any) -> None:
        self.dag_id = dag_id
        self.arguments = arguments
        self.tasks: list[BashOperator] = []

    def __enter__(self) -> DAG:
        DAG.current = self
        return self

    def __exit__(self, *_: object) -> None:
        pass


class BashOperator:
    """Airflow's, which adds itself to the DAG."""

    def __init__(
        self, task_id: str, bash_command: str, cwd: str, env: dict[str, str], append_env: bool
    ) -> None:
        assert append_env
        self.task_id = task_id
        self.bash_command, self.cwd, self.env = bash_command, cwd, env
        self.needs: list[BashOperator] = []
        DAG.current.tasks.append(self)

    def __rshift__(self, after: BashOperator) -> BashOperator:
        after.needs.append(self)
        return after

    def run(self, run_id: str) -> None:
        env = {name: value.replace("{{ run_id }}", run_id) for name, value in self.env.items()}
        command = ["bash", "-c", self.bash_command]
        subprocess.run(command, cwd=self.cwd, env={**os.environ, **env}, check=True)


def load(file: Path) -> DAG:
    """The DAG of a zip file."""
    airflow, bash = types.ModuleType("airflow"), types.ModuleType("airflow.operators.bash")
    airflow.DAG = DAG  # type: ignore[attr-defined]
    bash.BashOperator = BashOperator  # type: ignore[attr-defined]
    sys.modules |= {"airflow": airflow, "airflow.operators.bash": bash}
    spec = zipimport.zipimporter(str(file)).find_spec("dag")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dag"] = module
    spec.loader.exec_module(module)
    dag: DAG = module.dag
    return dag


def main(dags: str, name: str) -> None:
    dag = load(Path(dags) / f"{name}.zip")
    assert dag.dag_id == name
    done: list[BashOperator] = []
    while len(done) < len(dag.tasks):
        for task in dag.tasks:
            if task not in done and all(need in done for need in task.needs):
                task.run(f"tested {name}")
                done.append(task)


if __name__ == "__main__":
    main(*sys.argv[1:])
