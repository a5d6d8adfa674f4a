"""The number of cores that this process may use."""

import os
from pathlib import Path

from lightning_meta.core.errors import InputError

VARIABLE = "LIGHTNING_META_CORES"
CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the number of cores that this process may use, 1 or more.

    It is that of its CPU affinity, or what the CPU quota of its control group (version 1 or 2) pays for, if that is less. The
    variable LIGHTNING_META_CORES takes the place of both.

    Raises:
        InputError: If the variable is not a whole number of 1 or more.
    """
    if (given := os.environ.get(VARIABLE)) is not None:
        if not (given.isascii() and given.isdigit() and int(given)):
            raise InputError(f"{VARIABLE} is {given!r}: give a whole number of cores, 1 or more, or leave it unset")
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_of(CGROUPS)
    return cores if quota is None else max(1, min(cores, int(quota)))


def quota_of(groups: Path) -> float | None:
    """Return the cores that the control groups below a folder pay for, None if they set no limit or cannot be read."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((groups / name).read_text() for name in names).split()
            return float(quota) / float(period) if quota not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None
