"""Augmented training: the same images for any ranks and workers and after a resume; evaluation is not augmented."""

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback, ModelCheckpoint
from torch import nn

from datamodules import (
    Affine,
    ColourJitter,
    ConfiguredSize,
    Crop,
    Erase,
    Flip,
    ImageEpisodes,
    MetaDataset,
    RotateClasses,
)
from datamodules.augmentation.image_changes import Augmentation, NamedTasks
from datamodules.index.header import FeatureInfo
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeStream
from datamodules.sampling.loader import MetaLoader
from datamodules.writing.features import write_features
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import InputError, MetaBatch, equal_parts
from lightning_meta.learners import Pretraining, ProtoNet
from lightning_meta.training import MetaTraining
from support.commands import Commands
from support.runs import GLYPHS, QUICK
from support.trainer import SILENT, of_lightning

CHANGES: list[Augmentation] = [
    Crop(2),
    Flip(part="support"),
    Affine(probability=0.5),
    ColourJitter(),
    Erase(part="query"),
]
SIZES: dict[str, Any] = {"ways": (2, 4), "shots": (1, 3), "queries": 2, "meta_batch": 8, "epoch_batches": 2}


def data(root: Path, **options: Any) -> ImageEpisodes:
    return ImageEpisodes(str(root), **{**SIZES, "augment": CHANGES, "augment_classes": RotateClasses(), **options})


def batches(module: ImageEpisodes, workers: int = 0, rank: int = 0, world: int = 1) -> list[MetaBatch]:
    """The training batches of one of several processes, as its learner sees them."""
    whole = module.stream("train")
    tasks, split, episodes = module.tasks_of("train"), whole.split, whole.episodes
    size, rest = (
        module.sizes["train"],
        {"flat": module.flat_batch, "sampler": module.samplers["train"], "named": whole.named},
    )
    stream = EpisodeStream(tasks, split, size, episodes, whole.meta_batch, whole.seed, rank, world, **rest)
    return list(MetaLoader(stream, workers, prepare=module.prepare))


def of_tasks(read: list[MetaBatch]) -> Counter[bytes]:
    """The content of every task."""
    found: Counter[bytes] = Counter()
    for episode in itertools.chain.from_iterable(map(equal_parts, read)):
        for row in zip(*(tensor for part in episode for tensor in part), strict=True):
            found[b"".join(tensor.double().numpy().tobytes() for tensor in row)] += 1
    return found


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # more than this machine's cores
@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"sampler": MetaDataset(min_ways=2, max_ways=4)}, marks=pytest.mark.slow),
        pytest.param({"flat_batch": 6, "augment": [Crop(2), Affine()]}, marks=pytest.mark.slow),
    ],
    ids=["uniform", "different sizes", "flat"],
)
def test_images_are_changed_alike_for_any_ranks_and_workers(options: dict[str, Any], shard_root: Path) -> None:
    whole = of_tasks(batches(data(shard_root, **options)))
    assert sum(whole.values()) == len(whole) == 16
    for world, workers in itertools.product((1, 2, 4), (0, 1, 3)):
        ranks = [of_tasks(batches(data(shard_root, **options), workers, rank, world)) for rank in range(world)]
        assert sum(ranks, Counter()) == whole, (world, workers)


@pytest.mark.parametrize(
    "options", [{}, {"sampler": ConfiguredSize()}, {"flat_batch": 6}], ids=["plain", "sizes", "flat"]
)
def test_the_images_that_are_changed_are_those_that_would_be_read_without(options: Any, shard_root: Path) -> None:
    changes = [Crop(2)]
    plain, named = (
        data(shard_root, augment=one, augment_classes=None, **options).stream("train") for one in (None, changes)
    )
    for without, with_names in zip(plain, named, strict=True):
        assert isinstance(with_names, NamedTasks)
        assert of_tasks([without]) == of_tasks([with_names.tasks])
        names = torch.cat(with_names.names)
        assert len(names.unique()) == len(names) == 8


def test_epochs_and_seeds_change_an_image_in_other_ways(shard_root: Path) -> None:
    seen = set()
    for seed, epoch in itertools.product((0, 1), (0, 1)):
        stream = data(shard_root, seed=seed).stream("train")
        stream.epoch = epoch
        seen |= {tuple(batch.names[0].tolist()) for batch in stream if isinstance(batch, NamedTasks)}
    assert len(set(itertools.chain(*seen))) == 2 * 2 * 16


@of_lightning
def test_validation_and_test_are_never_augmented(shard_root: Path) -> None:
    same_split: Any = {"splits": ("train", "train", "train"), "val_episodes": 8, "test_episodes": 8}
    augmented, plain = (
        data(shard_root, **same_split),
        data(shard_root, **same_split, augment=None, augment_classes=None),
    )
    for loader in ("val_dataloader", "test_dataloader"):
        one, other = (list(getattr(module, loader)()) for module in (augmented, plain))
        assert of_tasks(one) == of_tasks(other)
    assert augmented.judged_on == plain.judged_on
    assert augmented.protocol("test") == plain.protocol("test")
    assert (augmented.classes, plain.classes) == (64, 16)


@pytest.fixture(scope="module")
def corners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of four images, each of which has a bright corner: the top left one; brightness names the class."""
    root = tmp_path_factory.mktemp("corners") / "set"
    images = np.zeros((6, 4, 1, 8, 8), np.uint8)
    images[..., :3, :3] = np.arange(10, 61, 10).reshape(6, 1, 1, 1, 1)
    classes = (ClassImages(f"c{i}", "train", one, group=f"g{i // 3}") for i, one in enumerate(images))
    write_shards(root, "corners", Preprocess(8, 1), classes)
    return root


TURNS = {(0, 0): "", (7, 0): ", turned by 90", (7, 7): ", turned by 180", (0, 7): ", turned by 270"}


@pytest.mark.parametrize("sampler", [None, ConfiguredSize(classes="near"), MetaDataset(min_ways=2, max_ways=5)])
def test_a_turned_class_is_a_class_turned_alike_in_support_and_query(sampler: Any, corners: Path) -> None:
    options: dict[str, Any] = {"ways": 4, "shots": 2, "queries": 2, "epoch_batches": 40, "augment": None}
    module = data(corners, sampler=sampler, **options)
    seen: Counter[tuple[Any, ...]] = Counter()
    for episode in itertools.chain.from_iterable(map(equal_parts, batches(module))):
        for support_x, support_y, query_x, query_y in zip(*episode.support, *episode.query, strict=True):
            classes = []
            for label in range(int(support_y.max()) + 1):
                own = torch.cat([support_x[support_y == label], query_x[query_y == label]])
                assert (own == own[0]).all()
                ((row, column),) = [place for place in TURNS if own[0, 0, place[0], place[1]] > 0]
                classes.append((round(float(own.max()) * 25.5), row, column))
            assert len(set(classes)) == len(classes)
            seen.update(classes)
    assert len(seen) == 24
    assert max(seen.values()) < 2.5 * min(seen.values())
    names = module.class_names("train")
    assert names
    assert set(names) < {f"c{i}{turn}" for i in range(6) for turn in TURNS.values()}


def test_a_hierarchy_of_names_holds_turned_classes_too(corners: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree.csv"
    tree.write_text("child,parent\nc0,a\nc1,a\nc2,b\nc3,b\nc4,b\nc5,b\na,root\nb,root\n")
    sampler = MetaDataset(hierarchy=str(tree), min_ways=2, max_leaves=8)
    read = batches(data(corners, sampler=sampler, augment=None, augment_classes=RotateClasses([180])))
    assert {episode.support.ways for batch in read for episode in equal_parts(batch)} == {4, 8}


def test_a_pass_over_flat_batches_has_every_image_of_every_version_once(corners: Path) -> None:
    module = data(
        corners, flat_batch=12, augment=None, augment_classes=RotateClasses([90]), meta_batch=1, epoch_batches=4
    )
    found: Counter[tuple[int, int, bool]] = Counter()
    for batch in batches(module):
        (episode,) = equal_parts(batch)
        for image, label in zip(episode.query.x[0], episode.query.y[0].tolist(), strict=True):
            found[label, round(float(image.max()) * 25.5), bool(image[0, 7, 0])] += 1
    assert found == {(i + 6 * turned, i + 1, bool(turned)): 4 for i in range(6) for turned in (0, 1)}


@of_lightning
@pytest.mark.usefixtures("recwarn")
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true", "bf16-mixed"])
def test_a_run_of_any_precision_sees_the_same_images_after_a_stop_in_the_middle_of_an_epoch(
    precision: str, shard_root: Path, tmp_path: Path
) -> None:
    def fit(steps: int, resume: Path | None = None) -> dict[int, Counter[bytes]]:
        seen: dict[int, Counter[bytes]] = {}

        def note(trainer: pl.Trainer, _: Any, batch: MetaBatch, __: int) -> None:
            seen[trainer.global_step] = of_tasks([batch])

        module = MetaTraining(ProtoNet(nn.Sequential(nn.Flatten(), nn.Linear(784, 8))))
        options: dict[str, Any] = {**SILENT, "precision": precision, "max_epochs": 2, "limit_val_batches": 0}
        keep = ModelCheckpoint(tmp_path / f"{steps}", "{step}", every_n_train_steps=3, save_top_k=-1)
        callbacks = [keep, LambdaCallback(on_train_batch_start=note)]
        trainer = pl.Trainer(**options | {"enable_checkpointing": True}, max_steps=steps, callbacks=callbacks)
        episodes = data(shard_root, meta_batch=2, epoch_batches=4, sampler=ConfiguredSize())
        trainer.fit(module, datamodule=episodes, ckpt_path=resume, weights_only=True)
        return seen

    first, rest, whole = fit(3), fit(7, tmp_path / "3/step=3.ckpt"), fit(7)
    assert list(rest) == [3, 4, 5, 6]
    assert first | rest == whole


@of_lightning
def test_pretraining_has_a_head_for_turned_classes(shard_root: Path) -> None:
    module = data(shard_root, flat_batch=8, augment=[Crop(2)], epoch_batches=2, val_episodes=2)
    learner = Pretraining(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)), module.classes, features=8)
    trainer = pl.Trainer(**SILENT)
    trainer.fit(MetaTraining(learner), datamodule=module)
    assert trainer.global_step == 2


def test_a_set_of_features_is_not_augmented(shard_root: Path, tmp_path: Path) -> None:
    source, out = ShardSet(str(shard_root)), tmp_path / "features"
    write_features(
        source, out, lambda images: images.reshape(len(images), -1)[:, :8].astype("f4"), FeatureInfo(8, "pixels")
    )
    with pytest.raises(InputError, match=r"augment has Crop, which changes images, but .* a vector of 8 features"):
        data(out).setup("fit")
    with pytest.raises(InputError, match=r"augment_classes is RotateClasses, which .* a vector of 8 features"):
        data(out, augment=None).setup("fit")


@pytest.mark.usefixtures("recwarn", "no_type_checker")
@of_lightning
@pytest.mark.slow
def test_a_command_takes_augmentations_and_does_not_continue_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    do = Commands(tmp_path, monkeypatch, capfd)
    do("shards write glyphs --classes 100 --drawings 20 --out shards/glyphs")
    crop = "--data.augment datamodules.Crop --data.augment.padding 2"
    fit = f"fit {GLYPHS} {QUICK} --data.augment_classes datamodules.RotateClasses"
    do(f"{fit} {crop}")
    again = f"{fit} --trainer.max_epochs 2 --ckpt_path last"
    assert "data.augment.part is 'query', was 'both'" in do.refused(f"{again} {crop} --data.augment.part query")
    assert "data.augment is not given, was Crop" in do.refused(again)
    assert "augment_classes.degrees is [90]" in do.refused(f"{again} {crop} --data.augment_classes.degrees [90]")
    assert "changed: trainer.max_epochs is 2, was 1" in do(f"{again} {crop}")
    list_of_two = "[{class_path: datamodules.Flip}, {class_path: datamodules.Erase, init_args: {value: %s}}]"
    for value in ("1.5", "0.5"):
        Path(f"{value}.yaml").write_text(f"data: {{init_args: {{augment: {list_of_two % value}}}}}")
    assert "value is 1.5: give 0 to 1" in do.refused(f"{fit} --config 1.5.yaml")
    do(f"{fit} --config 0.5.yaml")


def test_the_library_of_operations_is_imported_when_it_is_needed() -> None:
    code = "import sys; from datamodules import Affine, ImageEpisodes; Affine(); assert 'kornia' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
