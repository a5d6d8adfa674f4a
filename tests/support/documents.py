"""The README and the pages of the site, and what tests read in them: blocks of code, files and commands."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from support.paths import ROOT

SITE = ROOT / "docs"
PAGES = sorted(path for path in SITE.rglob("*.md") if path.parent != SITE / "results")  # there, page.md is a template
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
FENCE = re.compile(
    r"^(<!-- test: slow -->\n)?```(?: \{ \.)?(\w*)(?: title=\"(.+?)\")?(?: \})?\n(.*?)^```$", re.M | re.S
)
PLACEHOLDERS = re.compile(r"\.\.\.|FILE|NAME\.yaml|COMMAND|--help")


class Block(NamedTuple):
    """A block of code in a document.

    language: What it is marked as, such as python.
    title: The file that it is, or "".
    text: Its lines.
    slow: Whether running it takes long.
    """

    language: str
    title: str
    text: str
    slow: bool


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    return [
        Block(language, title, text, bool(slow)) for slow, language, title, text in FENCE.findall(document.read_text())
    ]


def write_files(document: Path, folder: Path) -> list[Path]:
    """Write the blocks of a document that are whole files, and return their paths."""
    titled = [block for block in blocks(document) if re.fullmatch(r"\w+\.(py|yaml)", block.title)]
    files = [block for block in titled if not block.text.startswith("--8<--")]  # these are files already
    for block in files:
        (folder / block.title).write_text(block.text)
    return [folder / block.title for block in files]


def commands(document: Path) -> list[str]:
    """Return the lightning-meta commands of a document, without those that have placeholders, each as one line."""
    text = document.read_text()
    shell = "\n".join(block.text for block in blocks(document) if block.language == "bash").replace("\\\n", " ")
    shell = re.sub(r"\s[#>] .*$", "", shell, flags=re.M)  # comments and redirections
    lines = re.findall(r"^(?:PYTHONPATH=\. )?(lightning-meta .+)$", shell, re.M)
    lines += re.findall(r"`(lightning-meta [^`]+)`", FENCE.sub("", text))
    return [" ".join(line.split()) for line in lines if not PLACEHOLDERS.search(line)]


def words(command: str) -> list[str]:
    """Return the arguments of a lightning-meta command."""
    return shlex.split(command)[1:]
