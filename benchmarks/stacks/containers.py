"""A Docker daemon, and an image that no registry has: Debian, Python and this package."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE = "executor-bench:local"
START_S = 60.0


@contextmanager
def daemon(folder: Path) -> Iterator[None]:
    """Runs Docker with all of its files in a folder, for the time of the context.

    It needs no network: containers get that of the machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    host = f"unix://{folder}/docker.sock"
    command = ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none"]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    command += ["--pidfile", str(folder / "pid"), "--host", host]
    os.environ["DOCKER_HOST"] = host
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, folder / "log")
            yield
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while subprocess.run(["docker", "version"], capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise SystemExit(f"Docker does not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.5)


def image(folder: Path, project: Path) -> None:
    """Makes the image: a minimal Debian with the Python of this machine, and the project."""
    root = folder / "root"
    if not (root / "etc/debian_version").exists():
        release = ["--variant=minbase", "--include=python3,ca-certificates", _codename()]
        subprocess.run(["debootstrap", *release, str(root)], check=True, stdout=subprocess.DEVNULL)
    python = root / "usr/local/bin/python"
    python.unlink(missing_ok=True)
    python.symlink_to("/usr/bin/python3")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (root / f"usr/bin/python{version}").exists():
        raise SystemExit(f"Debian {_codename()} has another Python than {version}: use that one.")
    target = root / f"usr/local/lib/python{version}/dist-packages"
    install = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", sys.executable]
    subprocess.run([*install, "--target", str(target), "--reinstall", str(project)], check=True)
    packed = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
    imported = ["docker", "import", "--change", 'CMD ["python"]', "-", IMAGE]
    subprocess.run(imported, stdin=packed.stdout, check=True, stdout=subprocess.DEVNULL)
    if packed.wait():
        raise SystemExit("The image could not be packed.")


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    if "VERSION_CODENAME" not in facts:
        raise SystemExit("This machine is no Debian: /etc/os-release has no VERSION_CODENAME.")
    return facts["VERSION_CODENAME"].strip('"')
