"""Completion in a real shell: the script is sourced, and bash is asked what the Tab key offers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lightning_meta.cli import COMMANDS
from lightning_meta.cli.completion import script
from support.runs import lightning_meta

ASK = """
source ./script
COMP_WORDS=(%s)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMPREPLY=()
$(complete -p lightning-meta | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "script").write_text(script("bash"))
    (folder / "mine.yaml").touch()
    (folder / "notes.txt").touch()
    return folder


def offered(folder: Path, *words: str) -> set[str]:
    """Return the completions that bash offers for the last of these words."""
    asked = ASK % " ".join(f"'{word}'" for word in ("lightning-meta", *words))
    done = subprocess.run(["bash", "-c", asked], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {line.strip() for line in done.stdout.splitlines() if line.strip()}


def test_commands_are_offered(folder: Path) -> None:
    assert {*COMMANDS} <= offered(folder, "")
    assert offered(folder, "comp") == {"compare", "completion"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("fit", "--trainer.max_ep"), {"--trainer.max_epochs"}),
        (("compare", "--epi"), {"--episodes"}),
        (("shards", "ver"), {"verify"}),
        (("shards", "index", "--lab"), {"--label"}),
        (("shards", "write", "fol"), {"folder"}),
        (("shards", "write", "folder", "--en"), {"--encoded"}),
        (("submit", "slu"), {"slurm"}),
        (("jobs", "can"), {"cancel"}),
        (("completion", ""), {"bash", "zsh"}),
    ],
)
def test_options_and_subcommands_are_offered(folder: Path, words: tuple[str, ...], expected: set[str]) -> None:
    assert offered(folder, *words) >= expected
    assert all(one.startswith(words[-1]) for one in offered(folder, *words))


def test_configurations_are_offered_with_files_of_ones_own(folder: Path) -> None:
    assert offered(folder, "fit", "--config", "glyphs-mam") == {"glyphs-maml.yaml", "glyphs-mamlpp.yaml"}
    names = offered(folder, "tune", "--config", "")
    assert {"glyphs.yaml", "rl2.yaml", "mine.yaml"} <= names
    assert "notes.txt" not in names
    assert offered(folder, "fit", "--config", "glyphs.yaml", "--config", "r2") == {"r2d2.yaml"}
    assert offered(folder, "configs", "sinusoid-an") == {"sinusoid-anil.yaml"}


def test_the_command_prints_a_script_without_pytorch(tmp_path: Path) -> None:
    done = lightning_meta(tmp_path, "completion", "zsh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#compdef lightning-meta")
    assert "glyphs.yaml" in done.stdout
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n"], input=done.stdout, text=True, check=True)
