"""Rules about the words of the code: how docstrings open, phrases that are not used, and names that mean one thing."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from support.paths import ROOT

SHIPPED = [path for name in ("lightning_meta", "datamodules", "clusters") for path in (ROOT / name).rglob("*.py")]
CLAUSES = re.compile(r"(What|Where|Who|How|Whether|Which)\b")  # a docstring opens with an imperative or a noun phrase
BANNED = re.compile(
    r"\b(so many|but for|the kin|luck of|lived? through|as told|told to|goes on|is no (checkpoint|number))\b"
)
FLOORS = [
    *("datamodules", "clusters/core", "clusters/slurm", "clusters/ray", "clusters/kubernetes", "clusters/local"),
    *(f"lightning_meta/{name}" for name in ("config", "search", "evaluation", "training", "learners", "nn", "core")),
]
ENTRY_POINTS = {"main"}  # of the modules that are run as programs


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_open_with_an_imperative_or_a_noun_phrase(path: Path) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)]
    assert [text for node in nodes if CLAUSES.match(text := ast.get_docstring(node) or "")] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_dialect(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if BANNED.search(line)] == []


@pytest.mark.parametrize("floor", FLOORS)
def test_a_public_name_is_defined_once_in_a_floor(floor: str) -> None:
    places = defaultdict(list)
    for path in sorted((ROOT / floor).rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    several = {name: files for name, files in places.items() if len(set(files)) > 1 and name not in ENTRY_POINTS}
    assert several == {}
