"""Write down what `lightning-meta COMMAND --help` prints, so that the commands can show it without importing Lightning.

python tools/render_help.py   writes lightning_meta/cli/help/COMMAND.txt, and COMMAND-SUBCOMMAND.txt; a test compares these
files with the live help.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lightning_meta.cli
from lightning_meta.cli import COMMANDS
from lightning_meta.cli.completion import subcommands
from lightning_meta.core.files import whole

FOLDER = Path(lightning_meta.cli.__file__).parent / "help"
COLUMNS = "100"
LIVE = ("submit", "jobs", "configs")  # quick, and what `submit` says depends on the back ends that are installed


def live(*words: str) -> str:
    """The help of a command or subcommand, made anew in a process of its own, 100 columns wide."""
    code = f"import sys; sys.argv[1:] = []; from lightning_meta.cli import run; run({words[0]!r}, {[*words[1:], '--help']})"
    environment = {**os.environ, "COLUMNS": COLUMNS}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def all_live(*words: str) -> Iterator[tuple[str, str]]:
    """Yield the file and the help of a command and of its subcommands."""
    text = live(*words)
    yield f"{'-'.join(words)}.txt", text
    for name in subcommands(text):
        yield from all_live(*words, name)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for command in sorted({*COMMANDS} - {*LIVE}):
        for name, text in all_live(command):
            with whole(FOLDER / name) as aside:
                aside.write_text(text)
            print(FOLDER / name)
