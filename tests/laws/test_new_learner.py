"""A packaged learner is one file and one YAML: with both added to a copy of the package, every law and rule holds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

LEARNER = '''"""Nearest class mean by the sum of absolute differences.

A. Stranger. A New Learner. 2026, arXiv:2601.00001.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import Examples, Predictor
from lightning_meta.learners._embedding import EmbeddingLearner, membership


class ManhattanNet(EmbeddingLearner):
    """The nearest class mean by the sum of absolute differences.

    theta: an embedding network. phi: one mean per class.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
    """

    regression = False

    def condition(self, support: Examples) -> "Means":
        member = membership(support, "ManhattanNet")
        return Means(member.to(support.x.dtype) @ support.x / member.sum(-1, keepdim=True))


@dataclass(frozen=True, eq=False)
class Means(Predictor):
    """phi of a ManhattanNet."""

    means: Float[Tensor, "tasks ways d"]

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n ways"]:
        return -torch.cdist(x, self.means, p=1)
'''
YAML = """# The nearest class mean by absolute differences (A. Stranger 2026)
model:
  learner:
    class_path: lightning_meta.learners.ManhattanNet
  optimizer:
    class_path: torch.optim.Adam
    init_args: {lr: 0.001}
"""


CHECKS = ("test_laws.py", "test_house.py", "test_help_texts.py", "test_inductive.py", "test_mistakes_backbones.py")


@pytest.mark.slow
def test_a_new_learner_is_one_file_and_one_yaml_and_no_edit_elsewhere(tmp_path: Path) -> None:
    for part in ("lightning_meta", "datamodules", "clusters", "tests", "tools", "docs", ".ci"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "Makefile"):
        shutil.copy(ROOT / part, tmp_path)
    (tmp_path / "lightning_meta/learners/manhattan.py").write_text(LEARNER)
    (tmp_path / "lightning_meta/configs/learners/manhattan.yaml").write_text(YAML)
    checks = [str(path) for name in CHECKS for path in (tmp_path / "tests").rglob(name)]
    chosen = ["-k", "manhattan or Manhattan or every_learner_of_the_package", "-m", "slow or not slow"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *chosen, *checks],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for law in range(1, 8):
        assert f"test_law_{law}" in done.stdout, "every law was asked of it"
    for rule in ("test_a_learner_cites_its_paper", "test_every_learner_of_the_package", "test_every_argument"):
        assert rule in done.stdout
