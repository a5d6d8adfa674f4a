"""The site of documentation builds without a warning, and its results are those of the data."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from support.paths import ROOT


@pytest.fixture
def results_page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return import_module("results_page")


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in ("index", "results", "clusters/slurm", "learners/metric", "write/back-end", "api/core"):
        assert (tmp_path / "site" / f"{page}.html").is_file()
    assert "write_folder" in (tmp_path / "site/examples.html").read_text(), "the programs are shown"
    assert "find_existing" in (tmp_path / "site/write/back-end.html").read_text(), "the example's code is shown"


def test_the_page_of_results_shows_the_tables_of_the_data(results_page: ModuleType) -> None:
    assert (ROOT / "docs/results.md").read_text() == results_page.results_page(), "run python tools/ledger.py --render"
    named = set((results_page.DATA / "page.md").read_text().split())
    for table in results_page.DATA.glob("*.csv"):
        assert table.stem == "readme" or table.stem in named, f"no page shows {table.name}"


def test_the_readme_quotes_the_results(results_page: ModuleType) -> None:
    text = (ROOT / "README.md").read_text()
    assert results_page.readme(text) == text, "run python tools/ledger.py --render"
    assert len(results_page.readme_table().splitlines()) == 2 + 8


def test_a_reference_to_a_cell_that_does_not_exist_is_an_error(results_page: ModuleType) -> None:
    assert results_page.cell("omniglot_protonet / here / 5-way 1-shot") == "98.47 +- 0.19"
    with pytest.raises(ValueError, match="not enough values"):
        results_page.cell("omniglot_protonet / there / 5-way 1-shot")


def test_the_page_of_environment_variables_shows_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    page = import_module("environment_page")
    assert page.PAGE.read_text() == page.page(), "run python tools/environment_page.py"
