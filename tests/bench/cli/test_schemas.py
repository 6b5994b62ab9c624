"""What commands print as JSON, and the lines of results files, are as their schemas say."""

from __future__ import annotations

import json
import shutil
import sysconfig
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.results.store import KINDS
from tests.bench.results.written import TYPICAL, write

jsonschema = pytest.importorskip("jsonschema")  # not to be had on free-threaded builds
DOCS = Path(__file__).parents[3] / "docs"
SMALL = ["--shapes", "fan-in:width=2", "--kernel", "noop,native-cpu:1ms", "--max-workers", "1,2"]


def schema(name: str) -> Any:
    return json.loads((DOCS / "schemas" / f"{name}.json").read_text())


def printed(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(main, [*map(str, arguments), "--format", "json"])
    assert result.exit_code in (0, 4), result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("quick", "undrawn")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("run", ["run", *SMALL, "--blocks", "1", "-q", "-o", "out"]),
        ("run", ["report", "results"]),
        ("run", ["report", "example"]),
        ("plan", ["run", *SMALL, "--dry-run"]),
        ("recommend", ["recommend", *SMALL[:4], "-q"]),
        ("recommend", ["recommend", "--results", "results"]),
        ("recommend", ["recommend", *SMALL[:4], "--no-verify", "-q"]),
        ("compare", ["compare", "results", "results"]),
        ("metg", ["metg", "--blocks", "1", "-q"]),
        ("doctor", ["doctor"]),
        ("list", ["list"]),
    ],
)
def test_json_is_as_its_schema_says(
    name: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "results", TYPICAL)
    shutil.copytree(DOCS / "reports" / "fan-in-diamond", "example")
    jsonschema.validate(printed(*arguments), schema(name))


def test_a_schema_refuses_what_is_not_as_it_says() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"cases": [{"ratio": "1"}]}, schema("compare"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"run": {"wall_s": 1}}, schema("results"))


@pytest.mark.usefixtures("undrawn")
def test_lines_of_results_are_as_their_schema_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_for_schema.py").write_text(
        "from executors import Graph, Task\n"
        "def make():\n    return Graph([Task('a', int), Task('b', int)])\n"
    )
    arguments = ["run", *SMALL, "--graph", "mine_for_schema:make", "--backends", "threads"]
    arguments += ["--blocks", "1", "-o", "out"]
    assert CliRunner().invoke(main, [*arguments, "-q"]).exit_code == 0
    assert CliRunner().invoke(main, ["run", "--resume", "out", "--blocks", "2"]).exit_code == 0
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    example = (DOCS / "reports" / "fan-in-diamond" / "results.jsonl").read_text().splitlines()
    kind_of = {key: one for one in schema("results")["oneOf"] for key in one["properties"]}
    for line in map(json.loads, [*lines, *example[::5]]):  # against one of them: quicker
        key = next(iter(line))
        jsonschema.validate(line, kind_of["schema" if key == "schema" else key])
    kinds = {next(iter(json.loads(line))) for line in lines}
    not_here = set() if sysconfig.get_config_var("Py_GIL_DISABLED") else {"lock"}
    assert kinds == {"schema", "end", "extended", *KINDS.values()} - not_here


def test_each_field_of_the_results_is_documented() -> None:
    page = (DOCS / "results.md").read_text()
    names = {field.name for kind in KINDS for field in fields(kind)}
    names |= set(schema("results")["oneOf"][0]["properties"])
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
