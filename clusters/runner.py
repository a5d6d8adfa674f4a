"""Runs a script and writes how it ended into exit.json, beside it: python runner.py FOLDER. Of the standard library alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Wait for FOLDER/script.txt; signals to the group are the script's affair."""
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sign, lambda *_: None)
    code = subprocess.run(["bash", str(folder / "script.txt")], stdin=subprocess.DEVNULL, check=False).returncode
    aside = folder / "exit.json.partial"
    aside.write_text(json.dumps({"code": code if code >= 0 else 128 - code}) + "\n")
    os.replace(aside, folder / "exit.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
