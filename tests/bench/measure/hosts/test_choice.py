"""Finding the Pythons of --python: paths, versions, environments, and what cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import BenchError
from bench.machine import build
from bench.measure.hosts.choice import Interpreter, chosen, examined

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}" + "t" * (
    build.build_facts()["free_threaded"] == "yes"
)


def fake(path: Path, version: str, free_threaded: str = "no", noise: str = "") -> Path:
    """An executable that says that it is some Python."""
    facts = {
        **build.build_facts(),
        "version": f"CPython {version}",
        "free_threaded": free_threaded,
        "short": version.rpartition(".")[0] + "t" * (free_threaded == "yes"),
        "executable": str(path),
    }
    answer = json.dumps({"path": [], "facts": facts})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{noise}'\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def labels(*specs: Path | str) -> list[str]:
    found, left_out = chosen([str(spec) for spec in specs], [])
    assert not left_out
    return [one.label for one in found]


def test_a_python_says_what_it_is() -> None:
    one = examined(sys.executable)
    assert one.label == HERE
    assert one.executable == sys.executable
    assert one.facts == build.build_facts()
    assert any("site-packages" in folder for folder in one.path)


def test_versions_are_found_on_the_path_and_where_tools_keep_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = fake(tmp_path / "bin" / "python3.12", "3.12.4")
    kept = fake(tmp_path / ".pyenv/versions/3.13.0/bin" / "python3.13", "3.13.0")
    monkeypatch.setenv("PATH", f"{on_path.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [examined(spec).executable for spec in ("3.12", "python3.12", "3.13")] == [
        *[str(on_path)] * 2,
        str(kept),
    ]
    with pytest.raises(BenchError, match=r"there is no 3\.17 on the PATH; name the path"):
        examined("3.17")


def test_a_shim_that_starts_nothing_does_not_hide_a_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "shims" / "python3.13"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'no version is set' >&2\nexit 127\n")
    shim.chmod(0o755)
    kept = fake(tmp_path / ".pyenv/versions/3.13.0/bin" / "python3.13", "3.13.0")
    monkeypatch.setenv("PATH", f"{shim.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert examined("3.13").executable == str(kept)
    kept.unlink()
    with pytest.raises(BenchError, match=r"does not run Python code \(no version is set\)"):
        examined("3.13")


def test_each_has_the_shortest_name_that_no_other_has(tmp_path: Path) -> None:
    plain = fake(tmp_path / "a", "3.13.1")
    free = fake(tmp_path / "b", "3.13.1", "yes")
    other = fake(tmp_path / "c", "3.13.2")
    same = fake(tmp_path / "d", "3.13.2")
    assert labels(plain, free) == ["3.13", "3.13t"]
    assert labels(plain, other) == ["3.13.1", "3.13.2"]
    assert labels(plain, other, same) == ["3.13.1", str(other), str(same)]


def test_what_a_python_prints_when_it_starts_is_not_its_answer(tmp_path: Path) -> None:
    assert examined(str(fake(tmp_path / "noisy", "3.14.0", noise="Hello"))).label == "3.14"


def test_those_that_cannot_measure_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'bad library' >&2; exit 3\n")
    broken.chmod(0o755)
    data = tmp_path / "data"
    data.write_text("nothing that runs")
    old = fake(tmp_path / "old", "3.9.18")
    specs = [str(path) for path in (broken, data, old, tmp_path / "missing")]
    found, left_out = chosen([*specs, sys.executable, f"{sys.executable}/../python"], [])
    assert [one.executable for one in found] == [sys.executable]
    assert "does not run Python code (bad library)" in left_out[specs[0]]
    assert "cannot be started" in left_out[specs[1]]
    assert "CPython 3.9.18; the tasks need Python 3.11 or later" in left_out[specs[2]]
    assert "no such file" in left_out[specs[3]]
    with pytest.raises(BenchError, match=r"no Python of --python can be measured; .*missing"):
        chosen([specs[3]], [])


def test_one_that_is_named_twice_is_measured_once(tmp_path: Path) -> None:
    one = fake(tmp_path / "one", "3.12.0")
    link = tmp_path / "link"
    link.symlink_to(one)
    found, left_out = chosen([str(one), str(link)], [])
    assert len(found) == 1
    assert "named twice" in left_out[str(link)]


def venv(folder: Path) -> Path:
    """A virtual environment of this Python without packages; its executable."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def test_an_environment_is_a_python_of_its_own(tmp_path: Path) -> None:
    executable = venv(tmp_path / "env")
    one = examined(str(executable))
    assert one.executable == str(executable)
    assert any(folder.startswith(str(tmp_path)) for folder in one.path)


def test_a_site_is_a_folder_of_packages_or_an_environment(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "more.pth").write_text(f"{tmp_path}\n")
    spec = str(venv(tmp_path / "env"))
    (one,), _ = chosen([spec], [f"{spec}={packages}"])
    assert one.path[-2:] == (str(packages), str(tmp_path))
    (one,), _ = chosen([sys.executable], [f"{sys.executable}={tmp_path / 'env'}"])
    assert one.path[-1].startswith(str(tmp_path / "env" / "lib"))


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("/tmp", r"--site must be PYTHON=FOLDER"),
        ("=/tmp", r"--site must be PYTHON=FOLDER"),
        ("3.99=/tmp", r"--python does not name '3\.99'; it names"),
        (f"{sys.executable}=/no/such/folder", "no such folder: /no/such/folder"),
    ],
)
def test_a_wrong_site_is_refused(site: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        chosen([sys.executable], [site])


def test_an_environment_of_another_python_is_no_site(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    _, left_out = chosen(["/bin/sh", sys.executable], [f"/bin/sh={tmp_path}"])
    assert list(left_out) == ["/bin/sh"]
    with pytest.raises(BenchError, match="a virtual environment of another Python than"):
        chosen([sys.executable], [f"{sys.executable}={tmp_path}"])


def test_the_identity_has_all_that_a_run_depends_on() -> None:
    one = examined(sys.executable)
    changed = Interpreter(one.label, one.executable, one.path, {**one.facts, "compiler": "x"})
    assert one.identity != changed.identity
    assert one.identity == examined(os.path.relpath(sys.executable)).identity
