"""`--help` of the whole and of every command: quick, complete, and what the live parser says."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from lightning_meta.cli import COMMANDS
from support.runs import lightning_meta, python

RENDERED = sorted(file.stem for file in (files("lightning_meta.cli") / "help").iterdir())
QUICK = ("shards",)  # the others take seconds of imports each as well


@pytest.mark.parametrize(
    "command", [pytest.param(one, marks=[pytest.mark.slow] * (one not in QUICK)) for one in RENDERED]
)
def test_a_command_says_what_the_live_parser_says(command: str, tmp_path: Path) -> None:
    words = command.split("-")
    shown = lightning_meta(tmp_path, *words, "--help").stdout
    assert shown.startswith(f"usage: lightning-meta {words[0]}")
    assert " at 0x" not in shown  # no addresses of objects
    rest = [*words[1:], "--help"]
    code = f"import sys; sys.argv[1:] = []; from lightning_meta.cli import run; run({words[0]!r}, {rest})"
    live = python(tmp_path, "-c", code, COLUMNS="100")
    assert live.stdout == shown, "write it anew: python tools/render_help.py"


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {*RENDERED}))
def test_help_that_depends_on_the_machine_is_live(command: str, tmp_path: Path) -> None:
    assert lightning_meta(tmp_path, command, "--help").stdout.startswith(f"usage: lightning-meta {command}")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["fit", "--help"], ["shards", "write", "folder", "--help"]]
)
def test_help_needs_no_pytorch(arguments: list[str], tmp_path: Path) -> None:
    code = f"import sys; from lightning_meta.cli import main; main({arguments}); assert 'torch' not in sys.modules"
    assert python(tmp_path, "-c", code).returncode == 0


def test_a_misspelt_command_is_told_the_nearest(tmp_path: Path) -> None:
    done = lightning_meta(tmp_path, "tets")
    assert done.returncode == 2
    assert "no command 'tets': did you mean test? choose from shards, fit," in done.stderr


def test_help_ends_quietly_where_nobody_reads_on() -> None:
    command = f"{sys.executable} -m lightning_meta fit --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: ")
    assert done.stderr == ""
