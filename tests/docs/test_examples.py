"""The examples of the documentation run, each with a smaller training than it has by itself."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from datamodules import write_glyphs
from support.documents import SITE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("recwarn")]  # of Lightning's
EXAMPLES = sorted((SITE / "examples").glob("*.py"))


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """The module of the example that the test is named after, in an empty folder."""
    monkeypatch.syspath_prepend(str(SITE / "examples"))
    monkeypatch.chdir(tmp_path)
    return import_module(request.node.name.removeprefix("test_"))


def test_own_images(example: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(18):
        folder = tmp_path / "photos" / f"class {number}"
        folder.mkdir(parents=True)
        pattern = rng.integers(0, 200, (28, 28, 3))
        for photo in range(8):
            Image.fromarray((pattern + rng.integers(0, 55, (28, 28, 3))).astype(np.uint8)).save(folder / f"{photo}.png")
    assert example.main(tmp_path / "photos", size=28, epochs=1, batches=10) > 0.8


def test_new_learner(example: ModuleType) -> None:
    assert example.main(epochs=1, batches=60) > 1.2


def test_agent(example: ModuleType) -> None:
    means = example.main(epochs=4, batches=10, meta_batch=256, test_tasks=400)
    assert min(means["RL2"], means["Gittins index"]) > means["random"] + 1


def test_compare_learners(example: ModuleType, tmp_path: Path) -> None:
    write_glyphs(tmp_path / "shards", classes=100, drawings=20)
    accuracies = example.main(tmp_path / "shards", epochs=1, batches=5, episodes=10)
    assert list(accuracies) == [1, 5]
    assert all({"ProtoNet", "R2-D2", "MAML"} <= set(by_name) for by_name in accuracies.values())
    assert accuracies[5]["ProtoNet"] > 0.3


@pytest.mark.ray
def test_search(example: ModuleType) -> None:
    assert example.main(trials=2, epochs=1, batches=20) > 0


def test_every_example_is_short_and_has_a_test() -> None:
    page = (SITE / "examples.md").read_text()
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 80, path.name
        assert f'--8<-- "examples/{path.name}"' in page, "the page shows it"
        assert f"test_{path.stem}" in globals(), path.name
