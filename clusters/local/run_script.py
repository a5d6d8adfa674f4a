"""Run a script and write how it ended into exit.json, beside it: python run_script.py FOLDER [SECONDS WARNING].

It may take at most SECONDS: WARNING seconds before the end its processes get SIGUSR1 (none with a WARNING of 0), at the end
SIGTERM, and GRACE seconds later SIGKILL. Uses the standard library only.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

GRACE = 120  # seconds between SIGTERM and SIGKILL, for a checkpoint


def main(folder: Path, limit: int | None = None, warning: int = 0) -> None:
    """Run FOLDER/script.txt and wait for it. Signals to the process group, which is this process's, are left to the script."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    process = subprocess.Popen(["bash", str(folder / "script.txt")], stdin=subprocess.DEVNULL)
    signals = []
    if limit is not None:
        signals = (
            [(limit - warning, signal.SIGUSR1), (warning, signal.SIGTERM)] if warning else [(limit, signal.SIGTERM)]
        )
    code, met_limit = None, False
    for seconds, number in signals:
        code = exit_code(process, seconds)
        if code is not None:
            break
        met_limit = True
        print(f"the job has {warning if number == signal.SIGUSR1 else 0} seconds left", flush=True)
        os.killpg(0, number)
    if code is None:
        code = exit_code(process, GRACE if met_limit else None)
    if code is None:
        write_exit(folder, 128 + signal.SIGKILL, limit)
        os.killpg(0, signal.SIGKILL)
        return
    write_exit(folder, code if code >= 0 else 128 - code, limit if met_limit else None)


def exit_code(process: subprocess.Popen[bytes], seconds: float | None) -> int | None:
    """Return the exit code, or None if the process does not end in time."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def write_exit(folder: Path, code: int, limit: int | None) -> None:
    """Write exit.json; `limit` is the time limit in seconds, if the job met it."""
    aside = folder / "exit.json.partial"
    aside.write_text(json.dumps({"code": code, "limit": limit}) + "\n")
    os.replace(aside, folder / "exit.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
