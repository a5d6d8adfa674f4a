"""Episodes from shard sets that are too small, damaged or of another writing: refused in a sentence, or skipped and counted."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from datamodules.images import ImageEpisodes
from datamodules.index.opening import read_index
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import Episode, InputError
from lightning_meta.learners import ProtoNet
from lightning_meta.nn import Conv4
from lightning_meta.training import MetaTraining
from support.trainer import SILENT, of_lightning

SIZE = EpisodeSize(3, 1, 2)
COUNT = 5  # images of a class


def write(out: Path, classes: int = 12, of_shard: int = 2, shift: int = 0, counts: tuple[int, ...] = ()) -> Path:
    """A set of one split, so many classes in a shard. Pixels of an image: its class, its number, then others."""

    def numbered() -> Iterator[ClassImages]:
        for i in range(classes):
            images = np.full((counts[i] if counts else COUNT, 1, 16, 16), shift + 100, np.uint8)
            images[:, 0, 0, 0], images[:, 0, 0, 1] = i, np.arange(len(images))
            yield ClassImages(f"class {i}", "train", images)

    record = 512 + 1536 + 512 + 512  # a tar member with a class's array, and one with its JSON
    write_shards(out, "numbered", Preprocess(16, 1), numbered(), shard_megabytes=(of_shard - 0.5) * record / 2**20)
    return out


@pytest.fixture
def root(tmp_path: Path) -> Path:
    out = write(tmp_path / "set")
    assert [record.blobs[0].source for record in read_index(str(out)).records] == [i // 2 for i in range(12)]
    return out


def read(root: Path, workers: int = 0, on_error: Any = "raise") -> tuple[list[Episode], ShardSet]:
    """An epoch of single episodes, through real loader workers; and the set, which knows what was skipped."""
    shards = ShardSet(str(root), on_error)
    stream = EpisodeStream(ImageTasks(shards), "train", SIZE, episodes=60)
    return list(MetaLoader(stream, workers)), shards


def classes(episode: Episode) -> set[int]:
    return set(episode.support.x[0, :, 0, 0, 0].tolist())


def same(ours: list[Episode], theirs: list[Episode]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(torch.equal(a.support.x, b.support.x) and torch.equal(a.query.x, b.query.x) for a, b in pairs)


def flip(root: Path, record: int, header: bool = False) -> None:
    """Invert some bytes of a record's images, or of the tar header before them."""
    index = read_index(str(root))
    path, offset = (
        root / index.sources[index.records[record].blobs[0].source].path,
        index.records[record].blobs[0].offset,
    )
    data = bytearray(path.read_bytes())
    place = (offset - 512) // 512 * 512 if header else offset + 300
    data[place : place + 9] = bytes(255 - byte for byte in data[place : place + 9])
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 17}, "17 ways were asked of split 'train' .*, which has 16 classes.* 16 ways or fewer"),
        ({"ways": (2, 17)}, "17 ways .* 16 classes"),
        ({"eval_ways": 7}, "7 ways were asked of split 'val' .*, which has 6 classes"),
        (
            {"shots": 10, "queries": 3},
            "10 shots and 3 queries need 13 images per class, but class 'class00' of split 'train' has 12",
        ),
        ({"shots": (1, 10), "queries": (1, 3)}, "13 images per class, but class .* has 12: ask for 12 or fewer"),
        ({"eval_queries": 12}, "1 shots and 12 queries need 13 images per class, .* split 'val' has 12"),
        ({"splits": ("train", "dev", "test")}, "patterns has no split 'dev'; it has train, val, test"),
    ],
)
def test_what_the_set_cannot_give_is_refused_before_training(shard_root: Path, options: dict, message: str) -> None:
    data = ImageEpisodes(str(shard_root), **({"queries": 3} | options))
    with pytest.raises(InputError, match=message):
        data.setup("fit")


def test_all_that_the_set_has_can_be_asked_for(shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), 16, 5, 7, eval_ways=6, meta_batch=1, epoch_batches=1, val_episodes=1)
    data.setup("fit")
    (support, query), (val_support, _) = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    assert (support.ways, val_support.ways) == (16, 6)
    assert len(torch.cat([support.x, query.x], 1).flatten(2)[0].unique(dim=0)) == 16 * 12


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_record_ends_the_run_in_one_sentence(root: Path, workers: int) -> None:
    flip(root, 3)
    with pytest.raises(InputError, match=r"^class class 3 in \S+train-000001\.tar is damaged: .*on_error: skip\)$"):
        read(root, workers)


@pytest.mark.parametrize("damaged", [{3}, {0, 3, 4, 7, 9}])
def test_damaged_records_are_passed_over_and_counted(root: Path, damaged: set[int]) -> None:
    whole, _ = read(root)
    for record in damaged:
        flip(root, record)
    episodes, shards = read(root, on_error="skip")
    assert all(len(classes(episode)) == 3 for episode in episodes)
    assert set().union(*map(classes, episodes)) == set(range(12)) - damaged
    intact = [i for i, episode in enumerate(whole) if not classes(episode) & damaged]
    assert 5 < len(intact) < 60
    assert same([episodes[i] for i in intact], [whole[i] for i in intact])  # what is whole stays as it was
    names = ", ".join(f"class {i}" for i in sorted(damaged))
    assert shards.report() == f"{len(damaged)} of 12 classes of {root} are damaged and were skipped: {names}"
    in_workers, shards_of_workers = read(root, 2, "skip")
    assert same(in_workers, episodes)
    assert shards_of_workers.report() == shards.report()
    for start in range(0, 60, 10):  # a reader who begins there has not met the damage before it
        resumed = EpisodeStream(ImageTasks(ShardSet(str(root), "skip")), "train", SIZE, episodes=60)
        resumed.start = start
        assert same(list(resumed), episodes[start:])


def test_what_was_skipped_is_told_at_the_end(root: Path) -> None:
    for record in (0, 1, 2, 3, 4, 6):
        flip(root, record)
    sizes = {"ways": 3, "queries": 2, "meta_batch": 1, "epoch_batches": 60}
    data = ImageEpisodes(str(root), **sizes, splits=("train",) * 3, on_error="skip", num_workers=2)
    list(data.train_dataloader())
    with pytest.warns(UserWarning, match=r"6 of 12 classes of .* skipped: class 0, class 1, .*, class 4, \.\.\."):
        data.teardown("fit")


def test_too_few_whole_classes_end_even_a_skipping_run(root: Path) -> None:
    for record in range(10):
        flip(root, record)
    with pytest.raises(InputError, match=r"too many classes of .* are damaged to fill an episode"):
        read(root, on_error="skip")


def truncate(root: Path) -> None:
    path = root / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:4000])


def remove(root: Path) -> None:
    (root / "train-000001.tar").unlink()


def change_lengths(root: Path) -> None:
    """The shards of another writing, as many bytes but with other images a class."""
    counts = (5, 5, 4, 6, *[5] * 8)
    other = write(root.with_name("other"), counts=counts)
    assert (other / "train-000001.tar").stat().st_size == (root / "train-000001.tar").stat().st_size
    shutil.copy(other / "train-000001.tar", root)


def change_images(root: Path) -> None:
    shutil.copy(write(root.with_name("other"), shift=1) / "train-000001.tar", root)


def change_places(root: Path) -> None:
    shutil.copy(root / "train-000002.tar", root / "train-000001.tar")


@pytest.mark.parametrize("record", [2, 3])
def test_a_damaged_header_of_a_tar_is_found_by_verify(root: Path, record: int) -> None:
    flip(root, record, header=True)
    (line,) = ShardSet(str(root)).verify()
    assert re.search(r"shard \S+train-000001\.tar is damaged, except its images", line)


@pytest.mark.parametrize(
    ("damage", "message", "at_opening", "classes_lost"),
    [
        (truncate, r"shard \S+train-000001\.tar is 4000 bytes long; the index says \d+ bytes", True, {2, 3}),
        (remove, r"shard \S+train-000001\.tar is missing; the index says \d+ bytes", True, {2, 3}),
        # Class 3 of the other writing has equal images in all places where it should have some.
        (change_lengths, r"class class 2 in \S+train-000001\.tar is damaged: its checksum", False, {2}),
        (change_places, r"class class [23] in \S+train-000001\.tar is damaged: its checksum", False, {2, 3}),
        (change_images, r"class class [23] in \S+train-000001\.tar is damaged: its checksum", False, {2, 3}),
    ],
)
def test_a_shard_that_is_not_as_the_index_says(
    root: Path, damage: Any, message: str, at_opening: bool, classes_lost: set[int]
) -> None:
    damage(root)
    if at_opening:
        with pytest.raises(InputError, match=message):
            ShardSet(str(root))
    with pytest.raises(InputError, match=message):
        read(root)
    episodes, shards = read(root, on_error="skip")
    assert set().union(*map(classes, episodes)) == set(range(12)) - classes_lost
    names = ", ".join(f"class {number}" for number in sorted(classes_lost))
    assert shards.report() == f"{len(classes_lost)} of 12 classes of {root} are damaged and were skipped: {names}"
    assert same(read(root, 2, "skip")[0], episodes)
    damage = shards.verify(1)
    assert len(damage) in (1, 2)
    assert shards.verify(3) == damage


def test_classes_found_damaged_at_opening_are_not_there_to_be_asked_for(root: Path) -> None:
    truncate(root)
    shards = ShardSet(str(root), "skip")
    EpisodeStream(ImageTasks(shards), "train", EpisodeSize(10, 1, 1), 1)
    with pytest.raises(InputError, match=r"11 ways were asked .* has 10 classes to draw from"):
        EpisodeStream(ImageTasks(shards), "train", EpisodeSize(11, 1, 1), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no shards at .*: there is no index\.json.*shards write"),
        ("{", "is damaged .*: write the shards again"),
        ("[]", "is damaged"),
        ('{"version": 1, "title": "x"}', "is of version 1; this lightning-meta reads version 3"),
    ],
)
def test_a_folder_without_a_legal_index_is_refused(root: Path, text: str | None, message: str) -> None:
    (root / "index.json").unlink() if text is None else (root / "index.json").write_text(text)
    with pytest.raises(InputError, match=message):
        ShardSet(str(root))


def test_validation_on_classes_that_are_trained_on_is_told(shard_root: Path) -> None:
    assert ImageEpisodes(str(shard_root), splits=("train", "train", "test")).trains_on_validation
    assert not ImageEpisodes(str(shard_root)).trains_on_validation


@of_lightning
def test_batches_are_floats_for_whoever_reads_them_after_a_fit(root: Path) -> None:
    data = ImageEpisodes(
        str(root), ways=2, queries=1, epoch_batches=1, val_episodes=1, test_episodes=2, splits=("train",) * 3
    )
    pl.Trainer(**SILENT).fit(MetaTraining(ProtoNet(Conv4(image_size=16))), datamodule=data)
    for batch in (*data.train_dataloader(), *data.test_dataloader()):
        assert batch.support.x.is_floating_point()
        assert batch.query.x.max() <= 1
