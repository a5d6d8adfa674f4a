"""Fixtures shared by all tests."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small tensors are many times slower on several

import jaxtyping
import numpy as np
import pytest
import torch
from runs import GLYPHS, QUICK, run
from torch import Tensor

from datamodules.reading.preprocess import Preprocess
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import Episode, Examples


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def no_type_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production: a wrong option reaches the constructor, whose own message the user reads."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def separable_episode(tasks: int, ways: int, shots: int, queries: int, shape=(1, 28, 28), seed: int = 0) -> Episode:
    """Classes are fixed random patterns, examples of them are noisy copies."""
    g = torch.Generator().manual_seed(seed)
    patterns = torch.rand(tasks, ways, 1, *shape, generator=g)

    def examples(n: int) -> Examples:
        x = patterns + 0.1 * torch.randn(tasks, ways, n, *shape, generator=g)
        return Examples(x.flatten(1, 2), torch.arange(ways).repeat_interleave(n).expand(tasks, -1))

    return Episode(examples(shots), examples(queries))


def graph(loss: Tensor) -> set[Any]:
    """The nodes of the autograd graph behind a loss."""
    seen, queue = set(), [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in seen:
            seen.add(node)
            queue += [parent for parent, _ in node.next_functions]
    return seen


@pytest.fixture(scope="session")
def shard_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shard set: 30 classes of 12 noisy 28x28 patterns in splits train 16, val 6, test 8. Read only."""
    rng = np.random.default_rng(0)
    splits = ["train"] * 16 + ["val"] * 6 + ["test"] * 8

    def classes():
        for i, split in enumerate(splits):
            pattern = rng.integers(0, 200, (1, 1, 28, 28))
            images = (pattern + rng.integers(0, 55, (12, 1, 28, 28))).astype(np.uint8)
            yield ClassImages(f"class{i:02d}", split, images)

    root = tmp_path_factory.mktemp("shards") / "patterns"
    write_shards(root, "patterns", Preprocess(28, 1), classes())
    return root


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a user wrote glyphs, trained ProtoNet on them, and exported images to try `adapt` on."""
    folder = tmp_path_factory.mktemp("workplace")
    run(folder, "shards write glyphs --classes 100 --drawings 20 --out shards/glyphs")
    said = run(folder, f"fit {GLYPHS} {QUICK}")
    assert "next:" in said
    run(folder, "shards export shards/glyphs --classes 3 --support 2 --query 4 --out try --split train")
    for name, shape in (("other", (1, 28, 28)), ("colour", (3, 20, 20))):
        images = np.random.default_rng(0).integers(0, 255, (6, 8, *shape), dtype=np.uint8)
        classes = (ClassImages(f"c{i}", "test", each) for i, each in enumerate(images))
        write_shards(folder / "shards" / name, name, Preprocess(shape[1], shape[0]), classes)
    return folder
