"""Rules of the house about the code itself. The import floors are held by import-linter."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from lightning_meta import learners, rl
from lightning_meta.config.merge import PACKAGED, read, resolve
from lightning_meta.core import FewShotLearner, MetaRLLearner
from support.documents import DOCUMENTS, blocks
from support.paths import ROOT

SHIPPED = [path for name in ("lightning_meta", "datamodules", "clusters") for path in (ROOT / name).rglob("*.py")]
SOURCES = [*SHIPPED, *(ROOT / "tools").glob("*.py"), *(ROOT / "tests").rglob("*.py")]
LEARNERS = sorted((PACKAGED / "learners").glob("*.yaml"))
AGENTS = sorted((PACKAGED / "agents").glob("*.yaml"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_idea_in_plain_ascii(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert text.isascii()
    assert path.name != "utils.py"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_public_says_what_it_does(path: Path) -> None:
    module = ast.parse(path.read_text())
    if path.name != "__main__.py":
        assert ast.get_docstring(module), "the module"
    for node in module.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_results_are_values_and_logged_names_are_not_read_back() -> None:
    """Check that results are read from `MetaModule.measurements`; names of scalars are for people and Ray's history."""
    readers = {path.name for path in SHIPPED if ".callback_metrics" in path.read_text()}
    assert readers == {"ending.py", "reporter.py"}


@pytest.mark.parametrize("path", [*LEARNERS, *AGENTS], ids=lambda path: path.stem)
def test_a_learner_cites_its_paper_and_says_what_theta_and_phi_are(path: Path) -> None:
    learner = getattr(rl if path in AGENTS else learners, _name(path))
    assert issubclass(learner, FewShotLearner | MetaRLLearner)
    module = inspect.getmodule(learner)
    assert module
    assert re.search(r"arXiv:\d{4}\.\d{5}|OpenReview:[\w-]+", module.__doc__ or "")
    said = learner.__doc__ or ""
    assert "theta: " in said
    assert "phi: " in said
    assert path.read_text().startswith("# "), "the line that `lightning-meta configs` shows"


def _name(path: Path) -> str:
    return read(path)["model"]["learner"]["class_path"].rpartition(".")[2]


def test_every_learner_of_the_package_has_a_yaml() -> None:
    assert {_name(path) for path in LEARNERS} == set(learners.__all__)
    exported = {name: getattr(rl, name) for name in rl.__all__}
    agents = {
        name for name, kind in exported.items() if issubclass(kind, MetaRLLearner) and not inspect.isabstract(kind)
    }
    assert {_name(path) for path in AGENTS} == agents


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_what_exists(document: Path) -> None:
    text = document.read_text()
    own = {block.title for block in blocks(document)} | {"NAME.yaml"}
    for name in set(re.findall(r"--config (\w+\.yaml)", text)) - own:
        assert resolve(name), name
    for link in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", text):
        assert (document.parent / link).exists(), link
    for path in re.findall(r"(?:tools|tests|datamodules|lightning_meta)/[\w/]+\.py", text):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"(?:`|^    )make (\w+)", text, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target


def test_the_continuous_integration_runs_the_users_own_commands() -> None:
    commands = (ROOT / ".ci/run").read_text().splitlines()
    assert "make test" in commands
    assert "make slow" in commands
