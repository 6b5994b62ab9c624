"""Checks and builds: `nox` runs lint, typecheck and all tests; `nox -l` lists the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")

nox.options.sessions = ["lint", "typecheck", "tests", "oldest_cloudpickle"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "uv|venv"  # uv installs in seconds what takes pip a minute
PARALLEL = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")  # see tests/conftest.py
# Hundreds of test processes start: each would compile what it imports.
os.environ.setdefault("UV_COMPILE_BYTECODE", "1")  # as pip does
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, name)


def starts(python: str, version: str) -> bool:
    """Whether this is a working interpreter of that version; a pyenv shim may not be one."""
    show = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return done.stdout.strip() == version


def put_on_path(version: str) -> bool:
    """Makes sure that `pythonX.Y` starts, if need be with one of pyenv's interpreters."""
    name = f"python{version}"
    if (path := shutil.which(name)) and starts(path, version):
        return True
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(home.glob(f"versions/{version}*/bin"), reverse=True):
        if starts(str(folder / name), version):
            os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
            return True
    return False


# What tools/get-python needs.
BUILD_PACKAGES: tuple[str, ...] = (
    "patchelf",
    "build-essential",
    "libssl-dev",
    "libffi-dev",
    "zlib1g-dev",
)
BUILD_PACKAGES += ("libsqlite3-dev", "liblzma-dev", "libbz2-dev")


def runs(python: str) -> bool:
    """Whether this is an interpreter that starts."""
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


SUPPORTED = nox.project.python_versions(PROJECT)
PYTHONS = [version for version in SUPPORTED if put_on_path(version)]


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff, check and format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Types: mypy --strict."""
    no_bytecode = {"UV_COMPILE_BYTECODE": "0"}  # mypy reads sources
    session.install(".", *group("typecheck"), env=no_bytecode)
    session.run("mypy", "--num-workers", "2")


@nox.session(python=sorted({*PYTHONS[:1], *PYTHONS[-1:]}, key=PYTHONS.index))
def tests(session: nox.Session) -> None:
    """The full suite on the oldest supported Python found, tests of our backends on the newest.

    Schedulers are where interpreters differ. `everywhere` runs the full suite on each of them.
    """
    for version in SUPPORTED:
        if version not in PYTHONS:
            session.log(f"Python {version} was not found: not tested")
    parts = ["tests/contract", "tests/executors", "--ignore=tests/executors/zenml"]
    others = "dask or joblib or loky or pebble"  # executors that are not ours
    parts += ["--ignore=tests/executors/engines", "-k", f"not ({others})"]
    if session.python == PYTHONS[0]:
        parts = []
    _test(session, *(session.posargs or parts))


@nox.session
def oldest_cloudpickle(session: nox.Session) -> None:
    """The tests of pickling with the oldest cloudpickle allowed; the others have the newest."""
    (bound,) = (one for one in PROJECT["project"]["dependencies"] if "cloudpickle" in one)
    session.install(*group("free-threaded-tests"), bound.replace(">=", "==") + ".*")
    session.install("--no-deps", ".")  # ZenML takes half a minute, and is not needed
    session.run("python", "-m", "pytest", *PARALLEL, "tests/executors/pickling")


@nox.session(python=PYTHONS)
def everywhere(session: nox.Session) -> None:
    """The full suite on each installed supported Python, with coverage; 20 minutes for each."""
    _test(session, "--cov", "--cov-report=term:skip-covered")


def _test(session: nox.Session, *options: str) -> None:
    session.install(".", *group("tests"))
    with session.chdir(session.create_tmp()):
        session.run("bench", "list", silent=True)  # the installed one, not the sources here
    data = Path(session.create_tmp()) / "coverage"
    session.run("python", "-m", "pytest", *PARALLEL, *options, env={"COVERAGE_FILE": str(data)})


def python_from_packages(session: nox.Session, version: str) -> str:
    """The executable of a Python that is on the PATH, or from a recipe, which is kept in .nox."""
    name = f"python{version}"
    if (path := shutil.which(name)) and runs(path):
        return path
    folder = Path(".nox/pythons", version).absolute()
    if not runs(str(folder / "bin" / name)):
        if shutil.which("patchelf") is None or version != "3.14":
            session.run("apt-get", "update", "-q", external=True)
            session.run("apt-get", "install", "-yq", *BUILD_PACKAGES, external=True)
        session.run("tools/get-python", version, str(folder), external=True)
    return str(folder / "bin" / name)


@nox.session(venv_backend="none")
def freethreaded(session: nox.Session) -> None:
    """The tests without ZenML's on free-threaded 3.13, whose lock stays off; on Debian, as root.

    The soak: SOAK_MINUTES=30 nox -s freethreaded -- -m soak tests/soak/test_threads.py
    """
    python = python_from_packages(session, "3.13t")
    environment = session.create_tmp()
    session.run("uv", "venv", "--clear", "--python", python, environment, external=True)
    pip = ("uv", "pip", "install", "--python", environment)
    session.run(*pip, "--group", "free-threaded-tests", "--only-binary", ":all:", external=True)
    session.run(*pip, "--no-deps", ".", external=True)
    command = (f"{environment}/bin/python", "-m", "pytest", *PARALLEL)
    session.run(*command, *session.posargs, external=True)


@nox.session
def soak(session: nox.Session) -> None:
    """1,300 runs with killed workers, 90 ZenML runs, busy neighbours; takes many minutes."""
    session.install(".", *group("tests"))
    tests = [
        "tests/executors/backends/workers/test_faults.py",
        "tests/executors/zenml/test_random_runs.py",
        "tests/executors/zenml/test_features.py",
        "tests/executors/zenml/test_modes.py",
        "tests/executors/zenml/process/test_stops.py",
        "tests/executors/engines/test_dask_faults.py",
        "tests/soak",
    ]
    lengths = {"FAULT_RUNS": "1000", "SOAK_RUNS": "30", "DASK_FAULT_RUNS": "300"}
    session.run("python", "-m", "pytest", *tests, "-m", "", "--timeout=3600", env=lengths)


@nox.session
def ray(session: nox.Session) -> None:
    """The tests of the backend `ray`, which is too large to be installed for all tests."""
    session.install(".[ray]", *group("tests"))
    contract = ("tests/contract", "-k", "ray")
    session.run("python", "-m", "pytest", "tests/executors/engines/test_ray.py")
    session.run("python", "-m", "pytest", *contract, *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Drives the report's page in Chromium, and times its opening; installs Debian's Chromium."""
    if shutil.which("chromium") is None and shutil.which("apt-get"):
        session.run("apt-get", "update", "-q", external=True)
        session.run("apt-get", "install", "-yq", "chromium", external=True)
    if shutil.which("chromium") is None:
        session.error("Chromium was not found: install it, so that `chromium` starts it.")
    session.install(".", *group("browser"))
    session.run("python", "-m", "pytest", "tests/browser", *session.posargs)
    session.run("python", "-m", "benchmarks.opening")


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the documentation into site/; warnings are errors."""
    session.install(".", *group("docs"))
    session.run("sphinx-build", "-W", "-q", "-b", "html", "-E", "docs", "site")
    session.log("open site/index.html")


@nox.session
def bench(session: nox.Session) -> None:
    """The overhead of the schedulers, compared with dask and other pools; takes many minutes."""
    session.install(".", *group("peers"))
    for module in ("overhead", "processes", "disturbance"):
        session.run("python", "-m", f"benchmarks.{module}", *session.posargs)


@nox.session
def bench_account(session: nox.Session) -> None:
    """Whether the loss account names what is built into runs, and what it takes; five minutes."""
    session.install(".")
    session.run("python", "-m", "benchmarks.account")


@nox.session
def bench_engines(session: nox.Session) -> None:
    """All backends beside each other, and what our adaptors take; takes 15 minutes."""
    session.install(".[ray]", *group("peers"))
    session.run("python", "-m", "benchmarks.engines")


@nox.session
def bench_zenml(session: nox.Session) -> None:
    """The time of our flavors, compared with ZenML's `local`; takes 10 minutes."""
    session.install(".")
    session.run("python", "-m", "benchmarks.flavor", *session.posargs)


@nox.session
def bench_stacks(session: nox.Session) -> None:
    """ZenML stacks with Docker and Airflow, into docs/stacks.md; on Debian, as root; 30 min."""
    for tool, package in (("dockerd", "docker.io"), ("debootstrap", "debootstrap")):
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            session.run("apt-get", "update", "-q", external=True)
            session.run("apt-get", "install", "-yq", package, "iptables", external=True)
    session.install(".", "docker", "uv")
    session.run(
        "python", "-m", "benchmarks.stacks", env={"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    )


@nox.session(python="3.14")
def bench_interpreters(session: nox.Session) -> None:
    """Worker interpreters beside worker processes, on Python 3.14; two minutes."""
    session.install(".")
    session.run("python", "-m", "benchmarks.interpreters", *session.posargs)


@nox.session
def bench_pythons(session: nox.Session) -> None:
    """Several Pythons on the same graphs, into docs/which-python.md; builds them, half an hour."""
    session.install(".")
    found = [python_from_packages(session, version) for version in ("3.13", "3.13t", "3.14")]
    folders = [str(Path(python).parent) for python in found]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    versions = ("3.11", "3.13", "3.13t", "3.14")
    session.run("python", "-m", "benchmarks.pythons", *versions, env={"PATH": path})


@nox.session
def bench_recommend(session: nox.Session) -> None:
    """How accurate `bench recommend` is, compared with a full sweep; takes 20 minutes."""
    session.install(".")
    session.run("python", "-m", "benchmarks.recommendation", *session.posargs)


@nox.session
def example_report(session: nox.Session) -> None:
    """Measures the example report on this machine into docs/reports/fan-in-diamond."""
    session.install(".")
    folder = Path("docs/reports/fan-in-diamond")
    shutil.rmtree(folder, ignore_errors=True)
    session.run("bench", "run", "--shapes", "fan-in,diamond", "-o", str(folder))
