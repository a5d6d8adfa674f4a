"""The process of a job, distinguished from a later one that has the same number."""

import subprocess
from contextlib import suppress
from pathlib import Path

from clusters.core.files import read_json


def identity(pid: int) -> dict[str, int | str]:
    """Return what identifies a process: its number, when it was started, and since which boot of the machine."""
    return {"pid": pid, "started": start_time(pid), "boot": boot_id()}


def is_alive(folder: Path) -> bool:
    """Return whether the process in a job's process.json runs: the same number, start time and boot."""
    facts = read_json(folder / "process.json")
    pid = facts.get("pid")
    if not isinstance(pid, int) or pid <= 1 or facts.get("boot") != boot_id():
        return False
    return start_time(pid) == facts.get("started") != ""


def start_time(pid: int) -> str:
    """Return when a process was started, in the system's own unit; empty if it does not exist or is dead."""
    proc = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            fields = proc.read_text().rpartition(")")[2].split()
            return "" if fields[0] in "ZX" else fields[19]
        return ""
    listed = subprocess.run(
        ["ps", "-p", str(pid), "-o", "lstart="], capture_output=True, text=True, check=False, timeout=60
    )
    return listed.stdout.strip()


def boot_id() -> str:
    """Return what identifies this boot of the machine; empty if the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
