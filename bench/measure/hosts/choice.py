"""The Pythons that `--python` names: found, examined, and given names of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import BenchError
from bench.machine import build

EXAMINED_S = 60.0  # starting a Python from a cold disk
OLDEST = 3, 11
# Where other tools keep their Pythons, below the home folder.
KEPT = (".pyenv/versions/*/bin", ".local/share/uv/python/*/bin", ".local/bin")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that can measure.

    Attributes:
        label: what it is called in tables: its version, with more of it if two have the same.
        executable: its absolute path; in a virtual environment, that one's.
        path: where it finds modules, with the site's folder.
        facts: see `bench.machine.build`.
    """

    label: str
    executable: str
    path: tuple[str, ...]
    facts: Mapping[str, str]

    @property
    def is_free_threaded(self) -> bool:
        return self.facts["free_threaded"] == "yes"

    @property
    def is_gil_enabled(self) -> bool:
        """Whether its interpreter lock was on when it was examined."""
        return self.facts["gil"] == "on"

    @property
    def identity(self) -> dict[str, str]:
        """What must be the same for a run to be continued."""
        return {"executable": self.executable, **self.facts}


def chosen(specs: Sequence[str], sites: Iterable[str]) -> tuple[list[Interpreter], dict[str, str]]:
    """The Pythons that can measure, in the order given, and why the others cannot, by spec.

    Args:
        specs: versions, names of commands, or paths.
        sites: folders of packages as `SPEC=FOLDER`.

    Raises:
        BenchError: a site is malformed, or none of the Pythons can measure.
    """
    folders = _sites(sites, specs)
    found: list[tuple[str, Interpreter]] = []
    left_out: dict[str, str] = {}
    for spec in specs:
        try:
            one = examined(spec, folders.get(spec))
        except BenchError as error:
            left_out[spec] = str(error)
            continue
        if one.executable in (other.executable for _, other in found):
            left_out[spec] = f"{one.executable} is named twice"
            continue
        found.append((spec, one))
    if not found:
        lines = [f"{spec}: {reason}" for spec, reason in left_out.items()]
        raise BenchError(f"no Python of --python can be measured; {'; '.join(lines)}")
    return _labelled(found), left_out


def _labelled(found: Sequence[tuple[str, Interpreter]]) -> list[Interpreter]:
    """Gives each the shortest name that no other one has."""
    choices = [
        (one.label, one.facts["version"].split()[-1] + "t" * one.is_free_threaded, spec)
        for spec, one in found
    ]
    counts = Counter(name for names in choices for name in set(names))
    return [
        replace(one, label=next((name for name in names if counts[name] == 1), one.executable))
        for names, (_, one) in zip(choices, found, strict=True)
    ]


def _sites(sites: Iterable[str], specs: Sequence[str]) -> dict[str, Path]:
    folders = {}
    for text in sites:
        spec, equals, folder = text.partition("=")
        if not (equals and spec and folder):
            raise BenchError(f"--site must be PYTHON=FOLDER, like 3.14=venv314, not {text!r}")
        if spec not in specs:
            raise BenchError(
                f"--site {text}: --python does not name {spec!r}; it names {', '.join(specs)}"
            )
        if not Path(folder).is_dir():
            raise BenchError(f"--site {text}: no such folder: {folder}")
        folders[spec] = Path(folder).absolute()
    return folders


def examined(spec: str, site: Path | None = None) -> Interpreter:
    """A Python, with what it says of itself.

    Args:
        site: a folder of packages for it, or a virtual environment.

    Raises:
        BenchError: there is none, it does not start, or it is too old.
    """
    reasons = []
    for executable in _candidates(spec):
        try:
            return _examined(executable, site)
        except BenchError as error:
            reasons.append(str(error))
    if reasons:
        raise BenchError(reasons[-1])  # the first may be a shim that starts none
    raise BenchError(f"there is no {spec} on the PATH; name the path of its executable")


def _candidates(spec: str) -> Iterator[str]:
    """Executables that a spec may mean, the most likely one first."""
    if os.sep in spec or spec.startswith("~"):
        yield str(Path(spec).expanduser().absolute())  # of a link, as of a virtual environment's
        return
    name = f"python{spec}" if spec[:1].isdigit() else spec
    if (found := shutil.which(name)) is not None:
        yield str(Path(found).absolute())
    for pattern in KEPT:
        for file in sorted(Path.home().glob(f"{pattern}/{name}"), reverse=True):
            yield str(file)


def _examined(executable: str, site: Path | None) -> Interpreter:
    if not Path(executable).exists():
        raise BenchError(f"no such file: {executable}")
    path, facts = _asked(executable, [])
    version = tuple(map(int, facts["short"].rstrip("t").split(".")))
    if version < OLDEST:
        raise BenchError(f"it is {facts['version']}; the tasks need Python 3.11 or later")
    if site is not None:
        path, facts = _asked(executable, [_packages(site, facts["short"])])
    # Not the path of a shim, which decides anew at each start what it starts.
    return Interpreter(facts.pop("short"), facts.pop("executable"), tuple(path), facts)


def _packages(site: Path, short: str) -> str:
    """The folder of packages in a virtual environment, or the folder itself."""
    if not (site / "pyvenv.cfg").exists():
        return str(site)
    inside = site / "lib" / f"python{short}" / "site-packages"
    if not inside.is_dir():
        raise BenchError(f"{site} is a virtual environment of another Python than {short}")
    return str(inside)


def _asked(executable: str, sites: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The path and the facts that a Python prints; its packages may print before that."""
    source = Path(build.__file__).read_text(encoding="utf-8")
    try:
        done = subprocess.run(
            [executable, "-c", source, *sites],
            capture_output=True,
            text=True,
            timeout=EXAMINED_S,
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
    except OSError as error:
        raise BenchError(f"{executable} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise BenchError(f"{executable} did not answer within {EXAMINED_S:.0f} s") from None
    try:
        answer = json.loads((done.stdout.strip().splitlines() or [""])[-1])
    except ValueError:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BenchError(f"{executable} does not run Python code ({said[:200]})") from None
    return answer["path"], answer["facts"]
