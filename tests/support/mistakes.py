"""A mistake of a user's, made in this process: it ends with one message and leaves no files."""

import shlex
from pathlib import Path

import pytest

from lightning_meta.cli import main


def ends_with_one_message(command: str, parts: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Run `lightning-meta COMMAND`: it ends with status 2 and one message, which holds all `parts`, and changes nothing
    below `folder`. Returns what it printed beside."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))
    printed = capfd.readouterr()
    assert ended.value.code == 2
    message = [line for line in printed.err.splitlines() if line.startswith("lightning-meta: error:")]
    assert len(message) == 1
    assert "Traceback" not in printed.err
    for part in parts:
        assert part in printed.err, printed.err
    assert sorted(folder.rglob("*")) == before, "a mistake leaves no files"
    return printed.out
