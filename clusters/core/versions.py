"""The versions that a job was submitted with: the commit of its working folder, Python, and the main packages."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("lightning-meta", "torch", "pytorch-lightning", "ray", "webdataset", "numpy")


def versions(workdir: Path) -> dict[str, Any]:
    """Return the commit of the working folder, whether it has changes, and the versions of the packages."""
    installed: dict[str, Any] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = None
    commit = _git(workdir, "rev-parse", "HEAD")
    return {"commit": commit, "changed": bool(_git(workdir, "status", "--porcelain")) if commit else None, **installed}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):  # no git, or a very large or a very slow disk
        return None
    return done.stdout.strip() if done.returncode == 0 else None
