"""Small disks, for tests of what happens when one is full."""

import os
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path


def disks_possible() -> bool:
    """Return whether this machine lets us mount."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            disk(stack, Path(folder, "try"), megabytes=1)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


def disk(stack: ExitStack, path: Path, megabytes: int = 0, kilobytes: int = 0) -> Path:
    """A disk of its own at `path`, until `stack` closes."""
    path.mkdir()
    size = f"size={1024 * megabytes + kilobytes}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", path], check=True, capture_output=True)
    stack.callback(subprocess.run, ["umount", "--lazy", path], check=True)
    return path


def fill(disk: Path) -> Path:
    """A file that takes what is left, to the last page."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast
