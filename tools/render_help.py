"""Write down what `lightning-meta COMMAND --help` prints, so that the commands can show it without importing Lightning.

python tools/render_help.py   writes lightning_meta/cli/help/COMMAND.txt; a test compares these files with the live help.
"""

import os
import subprocess
import sys
from pathlib import Path

import lightning_meta.cli
from lightning_meta.cli import COMMANDS
from lightning_meta.core.files import whole

FOLDER = Path(lightning_meta.cli.__file__).parent / "help"
COLUMNS = "100"
LIVE = ("submit", "jobs", "configs")  # quick, and what `submit` says depends on the back ends that are installed


def live(command: str) -> str:
    """The help of a command, made anew in a process of its own, 100 columns wide."""
    code = f"import sys; sys.argv[1:] = []; from lightning_meta.cli import run; run({command!r}, ['--help'])"
    environment = {**os.environ, "COLUMNS": COLUMNS}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in sorted({*COMMANDS} - {*LIVE}):
        with whole(FOLDER / f"{name}.txt") as aside:
            aside.write_text(live(name))
        print(FOLDER / f"{name}.txt")
