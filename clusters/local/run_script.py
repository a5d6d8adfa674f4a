"""Runs a script and writes how it ended into exit.json, beside it: python runner.py FOLDER [SECONDS WARNING].

At most SECONDS: WARNING seconds before the end its processes get SIGUSR1, at the end SIGTERM, and GRACE later SIGKILL; with a
WARNING of 0 no SIGUSR1. Of the standard library alone.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

GRACE = 120  # seconds between TERM and KILL


def main(folder: Path, limit: int | None = None, warning: int = 0) -> None:
    """Wait for FOLDER/script.txt; signals to the group, which is this process's, are the script's affair."""
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(sign, lambda *_: None)
    process = subprocess.Popen(["bash", str(folder / "script.txt")], stdin=subprocess.DEVNULL)
    told = []
    if limit is not None:
        told = [(limit - warning, signal.SIGUSR1), (warning, signal.SIGTERM)] if warning else [(limit, signal.SIGTERM)]
    code, met = None, False
    for seconds, sign in told:
        code = ended(process, seconds)
        if code is not None:
            break
        met = True
        print(f"the job has {warning if sign == signal.SIGUSR1 else 0} seconds left", flush=True)
        os.killpg(0, sign)
    if code is None:
        code = ended(process, GRACE if met else None)
    if code is None:
        write(folder, 128 + signal.SIGKILL, limit)
        os.killpg(0, signal.SIGKILL)
        return
    write(folder, code if code >= 0 else 128 - code, limit if met else None)


def ended(process: subprocess.Popen[bytes], seconds: float | None) -> int | None:
    """The exit code; None where it does not end in time."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def write(folder: Path, code: int, limit: int | None) -> None:
    """`limit`: the seconds that the job had, where it met the end of them."""
    aside = folder / "exit.json.partial"
    aside.write_text(json.dumps({"code": code, "limit": limit}) + "\n")
    os.replace(aside, folder / "exit.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
