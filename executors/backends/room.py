"""Whether this machine has room for that many worker processes."""

from __future__ import annotations

from pathlib import Path

from executors.errors import BackendError

DESCRIPTORS = 6  # that a worker takes in this process
SPARE_DESCRIPTORS = 64


def check_room(workers: int, worker_bytes: int) -> None:
    """Refuses more workers than descriptors or memory allow.

    Args:
        worker_bytes: resident memory of an idle worker, rounded up.

    Raises:
        BackendError: says how much is needed and how much is available.
    """
    limit = _most_descriptors()
    needed = workers * DESCRIPTORS + SPARE_DESCRIPTORS
    if limit is not None and needed > limit:
        raise BackendError(
            f"{workers} worker processes need about {needed} open files, but the limit is {limit};"
            " use fewer workers, or raise the limit with: ulimit -n"
        )
    free = _available_bytes()
    if free is not None and workers * worker_bytes > free:
        raise BackendError(
            f"{workers} worker processes need about {workers * worker_bytes / 1e9:.1f} GB of"
            f" memory, but only {free / 1e9:.1f} GB are free; use fewer workers"
        )


def has_room(worker_bytes: int) -> bool:
    """Whether there is room for one more worker process; True if the system does not say.

    Args:
        worker_bytes: resident memory of an idle worker, rounded up.
    """
    free = _available_bytes()
    return free is None or worker_bytes <= free


def _most_descriptors() -> int | None:
    try:
        import resource
    except ImportError:  # not POSIX
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _available_bytes() -> int | None:
    """Memory that processes can have without swapping, or None if the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes_kib = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(sizes_kib[0]) if sizes_kib else None
