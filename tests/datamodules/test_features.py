"""Frozen backbones of others, and their features of a shard set, computed once."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from datamodules.images import ImageEpisodes
from datamodules.index.opening import read_index
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.meta_batches import Key
from foreign_backbones import Foreign
from lightning_meta.cli.features import features as extract_features
from lightning_meta.core import Episode, Examples, InputError, flat_batch
from lightning_meta.learners import MAML, Pretraining
from lightning_meta.nn import Features, Frozen
from lightning_meta.nn.build import build
from lightning_meta.training import load
from lightning_meta.training.evaluation import observe
from support.runs import lightning_meta


def test_images_are_made_as_the_backbone_knows_them() -> None:
    backbone = Foreign()
    frozen = Frozen(backbone, drop="fc", size=14, mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.2])
    x = torch.rand(5, 3, 14, 14)
    normal = torch.stack([(x[:, c] - m) / s for c, (m, s) in enumerate([(0.1, 0.5), (0.2, 0.25), (0.3, 0.2)])], 1)
    assert_close(frozen(x), backbone.eval()(normal))
    assert frozen.out_features == 6
    grey = torch.rand(5, 1, 14, 14)
    assert_close(frozen(grey), frozen(grey.expand(-1, 3, -1, -1)))
    large = torch.rand(5, 3, 28, 28)
    assert_close(frozen(large), frozen(F.interpolate(large, (14, 14), mode="bilinear", antialias=True)))


def test_a_map_is_averaged_over_space() -> None:
    conv = nn.Conv2d(1, 4, 3)
    frozen = Frozen(conv, size=8, mean=[0.0], std=[1.0])
    x = torch.rand(2, 1, 8, 8)
    assert_close(frozen(x), conv(x).mean((2, 3)))


@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
def test_it_stays_as_it_is_in_any_learner(vectorize: Any) -> None:
    frozen = Frozen(Foreign(), drop="fc", size=14)
    before = {name: w.clone() for name, w in frozen.state_dict().items()}
    x, y = torch.rand(2, 8, 1, 14, 14), torch.arange(4).repeat(2, 2)
    alone = frozen(x[0])
    for learner in (Pretraining(frozen, 4, vectorize=vectorize), MAML(frozen, 4, vectorize=vectorize)):
        learner.train()
        phi = learner.adapt(Examples(x, y))
        assert set(phi.weights) == {"head.weight", "head.bias"}
        assert_close(learner.network.features({}, x[0]), alone)
        examples = Examples(x, y)
        learner.loss(flat_batch(examples) if learner.flat else Episode(examples, examples)).loss.backward()
        assert all(w.grad is None for w in frozen.parameters())
        observe(learner.eval(), Episode(examples, examples))
        assert learner.transductive is False  # whatever batch_stats says: its own are kept
    assert_close(frozen.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size 0, mean"),
        ({"std": [1.0]}, "as many std > 0 as mean"),
        ({"drop": "head"}, "drop is 'head', but Foreign has the parts conv, norm, fc"),
        ({"weights": "no.pt"}, r"there is no file of weights at no\.pt"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Frozen(Foreign(), **options)
    with pytest.raises(InputError, match="images of 2 channels came; this backbone takes 3, or 1"):
        Frozen(Foreign(), size=14)(torch.rand(1, 2, 14, 14))


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    trained = Foreign()
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    x = torch.rand(2, 3, 14, 14)
    assert_close(Frozen(Foreign(), weights=str(tmp_path / "w.pt"), size=14)(x), Frozen(trained, size=14)(x))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:100])
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "other.pt")
    for name in ("cut.pt", "other.pt"):
        with pytest.raises(InputError, match=f"{name} does not hold the weights of Foreign"):
            Frozen(Foreign(), weights=str(tmp_path / name))


def test_a_checkpoint_needs_the_file_of_weights_no_more(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save(Foreign().state_dict(), file)
    backbone = {
        "class_path": "lightning_meta.nn.Frozen",
        "init_args": {"backbone": {"class_path": "foreign_backbones.Foreign"}, "weights": str(file), "size": 14},
    }
    spec = {"class_path": "lightning_meta.learners.ProtoNet", "init_args": {"backbone": backbone}}
    learner = build(spec)
    file.unlink()
    weights = {f"learner.{name}": w for name, w in learner.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"learner": spec}}, tmp_path / "theta.ckpt")
    x = torch.rand(2, 1, 14, 14)
    again = load(tmp_path / "theta.ckpt", trust=["foreign_backbones"])
    assert_close(again.backbone(x), learner.backbone(x), rtol=0, atol=0)


def test_a_module_is_built_by_its_class_or_by_a_function_that_says_so() -> None:
    for path in ("foreign_backbones.Foreign", "foreign_backbones.foreign"):
        assert build({"class_path": path, "init_args": {"channels": 1}}).conv.in_channels == 1
    nested = {
        "class_path": "lightning_meta.nn.Frozen",
        "init_args": {"backbone": {"class_path": "foreign_backbones.foreign"}},
    }
    assert isinstance(build(nested), Frozen)
    for path in ("foreign_backbones.no_module", "os.system", "no.such.thing", "json.dumps"):
        with pytest.raises(InputError, match="is not a torch module that Python finds, nor a function annotated"):
            build({"class_path": path})


def extract(folder: Path, root: Path, *arguments: str) -> Any:
    options = ["--out", "features", "--drop", "fc", "--size", "14", *arguments]
    return lightning_meta(folder, "shards", "features", str(root), "foreign_backbones.Foreign", *options)


@pytest.fixture(scope="module")
def features(shard_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    torch.manual_seed(3)
    torch.save(Foreign().state_dict(), folder / "w.pt")
    done = extract(folder, shard_root, "--weights", "w.pt")
    assert done.returncode == 0, done.stderr
    return folder / "features"


def test_an_episode_of_features_is_that_of_images_through_the_backbone(features: Path, shard_root: Path) -> None:
    frozen = Frozen(Foreign(), drop=None, weights=str(features.parent / "w.pt"), size=14)
    frozen.backbone.set_submodule("fc", nn.Identity())
    images, cached = (ImageTasks(ShardSet(str(root))) for root in (shard_root, features))
    key = Key(0, "test", 0, 5)
    for of_images, of_features in zip(images.draw(key, 5, 2, 3), cached.draw(key, 5, 2, 3), strict=True):
        assert torch.equal(of_images.y, of_features.y)
        assert of_features.x.shape == (1, of_images.x.shape[1], 6)
        assert_close(of_features.x[0], frozen(of_images.x[0].float() / 255))
    flat, flat_features = (tasks.draw_flat(Key(0, "train", 0, 5), 9).query for tasks in (images, cached))
    assert_close(flat_features.x[0], frozen(flat.x[0].float() / 255))


def test_the_index_says_what_the_features_are(features: Path, shard_root: Path) -> None:
    index, of_images = read_index(str(features)), read_index(str(shard_root))
    assert index.features
    assert index.features.size == 6
    said = json.loads(index.features.backbone)
    assert (said["class_path"], said["drop"], said["size"]) == ("foreign_backbones.Foreign", "fc", 14)
    assert len(said["weights_sha256"]) == 64
    assert of_images.features is None
    assert {name: members.tolist() for name, members in index.splits.items()} == {
        name: members.tolist() for name, members in of_images.splits.items()
    }
    assert [(r.name, r.count) for r in index.records] == [(r.name, r.count) for r in of_images.records]


@pytest.mark.slow
def test_learners_train_and_test_on_features(features: Path, tmp_path: Path) -> None:
    assert lightning_meta(tmp_path, "shards", "verify", str(features)).returncode == 0
    run = ["--config", str(features / "task.yaml"), "--config", "baseline.yaml", "--trainer.enable_progress_bar=false"]
    sizes = ["--data.epoch_batches=5", "--data.val_episodes=8", "--trainer.max_epochs=1"]
    assert lightning_meta(tmp_path, "fit", *run, *sizes, f"--data.root={features}").returncode == 0
    done = lightning_meta(tmp_path, "shards", "sheet", str(features))
    assert done.returncode == 2
    assert "holds features, not pictures" in done.stderr


@pytest.mark.slow
def test_a_killed_writer_goes_on_after_its_last_whole_shard(features: Path, shard_root: Path, tmp_path: Path) -> None:
    """The shards hold 16, 6 and 8 classes: it is killed in the third."""
    (tmp_path / "kill").touch()
    killing = ("--weights", str(features.parent / "w.pt"), "--arguments", '{"killed": 25}')
    assert extract(tmp_path, shard_root, *killing).returncode == -signal.SIGKILL
    partial = tmp_path / "features.partial"
    first = {path.name: path.stat().st_mtime_ns for path in partial.glob("features-??????.tar")}
    assert sorted(first) == ["features-000000.tar", "features-000001.tar"]
    assert not (tmp_path / "features").exists()
    (tmp_path / "kill").unlink()
    done = extract(tmp_path, shard_root, *killing)
    assert done.returncode == 0, done.stderr
    assert not partial.exists()
    for name in ("features-000000.tar", "features-000001.tar", "features-000002.tar"):
        path = tmp_path / "features" / name
        assert path.stat().st_mtime_ns == first.get(name, path.stat().st_mtime_ns)  # not written again
        assert path.read_bytes() == (features / name).read_bytes()
    assert not list((tmp_path / "features").glob("*.partial*"))


@pytest.mark.slow
def test_another_backbone_begins_anew(features: Path, shard_root: Path, tmp_path: Path) -> None:
    (tmp_path / "kill").touch()
    assert extract(tmp_path, shard_root, "--arguments", '{"killed": 20}').returncode == -signal.SIGKILL
    done = extract(tmp_path, shard_root, "--weights", str(features.parent / "w.pt"))
    assert done.returncode == 0, done.stderr
    for path in features.glob("*.tar"):
        assert (tmp_path / "features" / path.name).read_bytes() == path.read_bytes()


def test_damage_is_found(features: Path, tmp_path: Path) -> None:
    shards = ShardSet(str(features))
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in features.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    record = shards.index.records[3]
    data = bytearray((copy / shards.index.sources[record.blobs[0].source].path).read_bytes())
    data[record.blobs[0].offset] ^= 1
    (copy / shards.index.sources[record.blobs[0].source].path).write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"class03 .* is damaged"):
        ShardSet(str(copy)).images(3, np.arange(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "os.system"}, "not a torch module"),
        ({"arguments": {"chanels": 3}}, "cannot be built with these arguments"),
        ({"arguments": {"channels": 2}}, "cannot be built with these arguments, or cannot read images of --size 14"),
        ({"weights": Path("no.pt")}, "no file of weights"),
        ({"batch": 0}, "batch is 0: give 1 or more"),
        ({"drop": "head"}, "parts conv, norm, fc"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], message: str, shard_root: Path, tmp_path: Path) -> None:
    legal = {"root": str(shard_root), "backbone": "foreign_backbones.Foreign", "out": tmp_path / "out", "size": 14}
    with pytest.raises(InputError, match=message):
        extract_features(**legal | options)
    assert list(tmp_path.iterdir()) == []


def test_features_of_features_are_refused(features: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds features already"):
        extract_features(str(features), "foreign_backbones.Foreign", tmp_path / "out", size=14)
    with pytest.raises(InputError, match="exists: nothing is overwritten"):
        extract_features(str(features), "foreign_backbones.Foreign", features)


def test_a_checkpoint_of_features_reads_those_of_the_same_backbone_alone(features: Path, shard_root: Path) -> None:
    data = ImageEpisodes(str(features))
    checkpoint = {"data": data.state_dict()}
    assert isinstance(data.tasks, ImageTasks)
    data.check_checkpoint("x.ckpt", checkpoint)
    with pytest.raises(InputError, match=r"x\.ckpt was trained on features of .*Foreign.*holds images"):
        ImageEpisodes(str(shard_root)).check_checkpoint("x.ckpt", checkpoint)
    other = {"data": {"features": data.state_dict()["features"] | {"backbone": "another"}}}  # type: ignore[operator]
    with pytest.raises(InputError, match=r"trained on features of another.*holds those of .*Foreign"):
        data.check_checkpoint("x.ckpt", other)


def test_a_torchvision_backbone_by_its_function() -> None:
    pytest.importorskip("torchvision")
    frozen = Frozen(build({"class_path": "torchvision.models.resnet18"}), drop="fc", size=64)
    assert frozen(torch.rand(2, 1, 28, 28)).shape == (2, 512)


def test_the_backbone_of_features_is_the_identity() -> None:
    backbone, x = Features(6), torch.rand(3, 6)
    assert torch.equal(backbone(x), x)
    assert backbone.out_features == 6
    with pytest.raises(InputError, match=r"6 numbers are read, but the data are \[1, 28, 28\]"):
        backbone(torch.rand(3, 1, 28, 28))
