"""The memory of this machine, or of the container or job that this process is confined to."""

import os
import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def total_memory() -> int | None:
    """Return the bytes of memory that this process may use at most: the machine's, or a smaller limit of its control group.

    None where the system does not say.
    """
    sizes = [size for size in (physical_memory(), group_limit()) if size is not None]
    return min(sizes, default=None)


def physical_memory() -> int | None:
    """Return the bytes of memory of the machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def available_memory() -> int | None:
    """Return the bytes that can be used without swapping; None where the system does not say (only Linux does)."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def group_limit(groups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the smallest memory limit of the control groups that this process is in; None if there is none.

    Args:
        groups: The root of the control groups, of version 2 or of version 1.
        own: The file that names the groups of this process.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        place = Path(path.lstrip("/"))
        for folder in (place, *place.parents):
            try:
                limits.append(int((root / folder / name).read_text()))
            except (OSError, ValueError):  # no such file, or `max`
                continue
    return min((limit for limit in limits if limit < 2**60), default=None)  # version 1 writes a huge number for none
