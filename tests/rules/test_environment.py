"""Environment variables are in one table, from which the page of the documentation is written."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_meta.machine.environment import TABLES, unknown_variables, variables_set
from support.paths import ROOT

SHIPPED = [path for name in ("lightning_meta", "datamodules", "clusters") for path in (ROOT / name).rglob("*.py")]
TABLE = ROOT / "lightning_meta" / "machine" / "environment.py"
KNOWN = {one.name for table in TABLES.values() for one in table}
OURS = re.compile(r"LIGHTNING_META_[A-Z_]*[A-Z]\b")


def read_by(path: Path) -> Iterator[str]:
    """The names that a module reads from the environment as literals: get, getenv, setdefault, [NAME], NAME in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "os.getenv",
            "os.environ.get",
            "os.environ.setdefault",
        ):
            read: ast.expr = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            read = node.slice
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
            read = node.left
        else:
            continue
        if isinstance(read, ast.Constant):
            yield read.value


def test_every_variable_that_the_packages_read_is_in_the_table() -> None:
    read = {name: path for path in SHIPPED for name in read_by(path)}
    assert {"LIGHTNING_META_DATA", "NODE_RANK", "KUBECONFIG", "WORLD_SIZE"} <= read.keys()
    assert {name: path for name, path in read.items() if name not in KNOWN} == {}


def test_every_name_of_ours_is_in_the_table_and_nothing_else_is() -> None:
    named = {name for path in SHIPPED if path != TABLE for name in OURS.findall(path.read_text())}
    assert named == {name for name in KNOWN if name.startswith("LIGHTNING_META_")}


def test_variables_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_META_JOBS", "here")
    monkeypatch.setenv("LIGHTNING_META_JOBZ", "here")
    assert ("LIGHTNING_META_JOBS", "here") in [(one.name, value) for one, value in variables_set()]
    assert "LIGHTNING_META_JOBZ" in unknown_variables()
