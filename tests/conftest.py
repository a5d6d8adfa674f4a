"""Fixtures shared by all tests."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small tensors are many times slower on several

import jaxtyping
import numpy as np
import pytest
import torch

from datamodules.reading.preprocess import Preprocess
from datamodules.writing.shards import ClassImages, write_shards
from support.runs import GLYPHS, QUICK, run


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def no_type_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production: a wrong option reaches the constructor, whose own message the user reads."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


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
