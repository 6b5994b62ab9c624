"""The table of orchestrators in docs/stacks.md says what the installed ZenML says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import zenml
from zenml.client import Client
from zenml.enums import StackComponentType

import executors.zenml
from tests.pages import ROOT

PAGE = ROOT / "docs" / "stacks.md"
COLUMNS = ("dynamic", "isolated steps", "schedules")
ROWS = {
    cells[0].strip("`"): dict(zip(COLUMNS, cells[3:6], strict=True))
    for line in PAGE.read_text().splitlines()
    if (cells := [cell.strip() for cell in line.strip("| ").split(" | ")])[0].startswith("`")
    and len(cells) == 7
}
OURS = Path(executors.zenml.__file__).parent
ZENML = Path(zenml.__file__).parent
FOLDERS = {"vertex": "gcp", "sagemaker": "aws", "azureml": "azure"}  # else that of the flavor


def sources(flavor: str) -> str:
    """The code of an orchestrator and its configuration."""
    if flavor.startswith("local_") and flavor != "local_docker":
        return (OURS / "orchestrator.py").read_text()
    if flavor.startswith("local"):
        files = (ZENML / "orchestrators" / flavor).glob("*.py")
    else:
        folder = FOLDERS.get(flavor, flavor)
        if flavor.startswith("vm_"):
            folder = "skypilot"
        files = (ZENML / "integrations" / folder).rglob("*orchestrator*.py")
    return "\n".join(file.read_text() for file in files)


@pytest.mark.parametrize("flavor", ROWS)
def test_what_an_orchestrator_can_do_is_what_its_code_says(flavor: str) -> None:
    source = sources(flavor)
    assert source
    schedulable = re.search(r"def is_schedulable\(.*?return (\w+)", source, re.DOTALL)
    can = {
        "dynamic": "def submit_dynamic_pipeline(" in source,
        "isolated steps": "def submit_isolated_step" in source,
        "schedules": schedulable is not None and schedulable[1] == "True",
    }
    assert {column: cell == "yes" for column, cell in ROWS[flavor].items()} == can


def test_every_orchestrator_that_zenml_registers_has_a_row() -> None:
    flavors = Client().list_flavors(type=StackComponentType.ORCHESTRATOR, size=100).items
    names = {flavor.name for flavor in flavors if not flavor.name.startswith("tested_")}
    assert names <= ROWS.keys()
    assert {"local_threaded", "local_process"} <= ROWS.keys()
