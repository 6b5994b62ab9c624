"""Airflow in an environment of its own: it and ZenML need different versions of SQLAlchemy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENT = "apache-airflow>=2.10,<3"
OPTIONS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__EXECUTOR": "SequentialExecutor",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}


def set_up(folder: Path) -> str:
    """Installs it; returns the command that runs a DAG called {run}."""
    airflow = folder / "venv/bin/airflow"
    os.environ.update(OPTIONS, AIRFLOW_HOME=str(folder / "home"))
    if not airflow.exists():
        subprocess.run(["uv", "venv", "-q", "-p", sys.executable, str(folder / "venv")], check=True)
        python = str(folder / "venv/bin/python")
        subprocess.run(["uv", "pip", "install", "-q", "-p", python, REQUIREMENT], check=True)
    subprocess.run([str(airflow), "db", "migrate"], check=True, stdout=subprocess.DEVNULL)
    return f"{airflow} dags test {{run}}"


def dags(folder: Path) -> Path:
    """The folder that it reads DAGs from."""
    path = folder / "home/dags"
    path.mkdir(parents=True, exist_ok=True)
    return path
