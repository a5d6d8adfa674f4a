"""Flat batches: passes over all images of a split from the same shards, a pure function of seed, epoch and index."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.images import ImageEpisodes
from datamodules.reading.cache import ShardCache
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream, Tasks
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.sampling.meta_batches import Key
from datamodules.sinusoid import Sinusoid, SinusoidTasks
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import Episode, InputError

SIZE = EpisodeSize(5, 1, 1)
Bytes = list[tuple[tuple[int, ...], bytes]]


@pytest.fixture(params=["images", "sinusoids"])
def opened(request: pytest.FixtureRequest, shard_root: Path) -> Callable[[], Tasks]:
    if request.param == "sinusoids":
        return SinusoidTasks
    return lambda: ImageTasks(ShardSet(str(shard_root)))


def raw(*rows: Episode) -> Bytes:
    """Flat batches one after the other along the tasks axis."""
    return [
        (tuple(t.shape), t.numpy().tobytes()) for t in map(torch.cat, zip(*(row.query for row in rows), strict=True))
    ]


def loader(tasks: Tasks, workers: int = 0, rank: int = 0, world: int = 1) -> MetaLoader:
    return MetaLoader(EpisodeStream(tasks, "train", SIZE, 20, 8, rank=rank, world=world, flat=7), workers)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # more than this machine's cores
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_sequence_is_the_same_for_any_ranks_and_workers(
    opened: Callable[[], Tasks], world: int, workers: int
) -> None:
    whole = list(loader(opened()))
    assert [batch.query.x.shape[:2] for batch in whole] == [(8, 7), (8, 7), (4, 7)]
    ranks = [list(loader(opened(), workers, rank, world)) for rank in range(world)]
    assert {len(batch.query.x) for share in ranks for batch in share} == {8 // world, 4 // world}
    assert [raw(*shares) for shares in zip(*ranks, strict=True)] == [raw(batch) for batch in whole]


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_loader_resumes_with_the_very_next_batch_on_any_number_of_ranks(
    opened: Callable[[], Tasks], stop: int
) -> None:
    stopped = loader(opened())
    batches = iter(stopped)
    for _ in range(stop):
        next(batches)
    state = stopped.state_dict()
    rest = [raw(batch) for batch in batches]
    assert len(rest) == 3 - stop
    ranks = [loader(opened(), 0, rank, 2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(state)
    assert [raw(*shares) for shares in zip(*ranks, strict=True)] == rest


def test_seed_split_epoch_and_index_name_a_batch(opened: Callable[[], Tasks]) -> None:
    keys = list(itertools.starmap(Key, itertools.product((0, 1), ("train", "val"), (0, 1), range(3))))
    tasks, others = opened(), opened()
    drawn = [repr(raw(tasks.draw_flat(key, 6))) for key in keys]
    assert len(set(drawn)) == len(keys)
    assert [repr(raw(others.draw_flat(key, 6))) for key in reversed(keys)] == drawn[::-1]


def numbered(root: Path, classes: Sequence[int], megabytes: float = 64.0) -> str:
    """A set of classes with so many images each; an image is two pixels, the numbers of its class and of itself."""
    images = [
        np.array([[c, i] for i in range(n)], np.uint8).reshape(n, 1, 1, 2).repeat(2, 2) for c, n in enumerate(classes)
    ]
    items = [ClassImages(f"class {c}", "train", image) for c, image in enumerate(images)]
    write_shards(root, "numbered", Preprocess(2, 1), items, shard_megabytes=megabytes)
    return str(root)


def images(tasks: Tasks, n: int, batches: int, epoch: int = 0) -> list[tuple[int, int]]:
    """(class, image) of the places of an epoch; their labels must be the classes."""
    found = list[tuple[int, int]]()
    for index in range(batches):
        x, y = tasks.draw_flat(Key(0, "train", epoch, index), n).query
        pixels = x[0, :, 0, 0].long()
        assert torch.equal(pixels[:, 0], y[0])
        found += [(int(c), int(i)) for c, i in pixels]
    return found


def test_every_image_comes_once_a_pass_in_an_order_of_its_own(tmp_path: Path) -> None:
    counts = [3, 1, 8, 5, 4]  # 21 images in passes of 3 batches
    tasks = ImageTasks(ShardSet(numbered(tmp_path / "set", counts)))
    everything = {(c, i) for c, n in enumerate(counts) for i in range(n)}
    read = images(tasks, 7, 9)
    passes = [read[:21], read[21:42], read[42:], images(tasks, 7, 3, epoch=1)]
    assert all(set(each) == everything for each in passes)
    assert len({tuple(each) for each in passes}) == 4
    assert images(tasks, 5, 12) == read[:60]  # whatever the size of a batch


def test_of_a_remote_set_as_many_shards_are_mixed_as_the_cache_holds(tmp_path: Path) -> None:
    counts = [4] * 12
    root = "file://" + numbered(tmp_path / "set", counts, megabytes=1e-3)
    size = ShardSet(numbered(tmp_path / "same", counts, megabytes=1e-3)).index.source_bytes
    shards = ShardSet(root, cache=ShardCache(2.5 / 12 * size / 1e9, str(tmp_path / "cache")))
    source_of = shards.index.sources_of(np.arange(12)).tolist()
    assert len(shards.index.sources) == 12
    tasks = ImageTasks(shards)
    read = images(tasks, 6, 8)
    assert sorted(read) == [(c, i) for c in range(12) for i in range(4)]
    shard = [source_of[c] for c, _ in read]
    spans = [
        (shard.index(s), len(shard) - shard[::-1].index(s)) for s in set(shard)
    ]  # from its first image to its last
    assert max(sum(start <= place < end for start, end in spans) for place in range(len(shard))) == 2


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_damaged_class_is_refused_or_replaced(on_error: Any, tmp_path: Path) -> None:
    root = numbered(tmp_path / "set", [4, 4, 4])
    shards = ShardSet(root, on_error)
    tar, blob = tmp_path / "set" / shards.index.sources[0].path, shards.index.records[1].blobs[0]
    with tar.open("r+b") as file:
        file.seek(blob.offset)
        file.write(b"\xff")
    tasks = ImageTasks(ShardSet(root, on_error))
    if on_error == "raise":
        with pytest.raises(InputError, match=r"class 1 .* is damaged"):
            images(tasks, 12, 1)
        return
    read = images(tasks, 12, 1)
    assert {c for c, _ in read} == {0, 2}  # whose labels are still those of three classes
    assert "1 of 3 classes" in (tasks.report() or "")
    assert read == images(ImageTasks(ShardSet(root, on_error)), 12, 1)


def test_a_data_module_reads_flat_batches_in_training_alone(shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), queries=3, meta_batch=2, epoch_batches=3, val_episodes=2, flat_batch=9)
    assert data.classes == 16
    batches = list(data.train_dataloader())
    assert [batch.query.x.shape for batch in batches] == [(2, 9, 1, 28, 28)] * 3
    assert all(batch.is_flat and batch.support.y.shape == (2, 0) for batch in batches)
    assert max(int(batch.query.y.max()) for batch in batches) > 5
    (episode,) = data.val_dataloader()
    assert episode.support.x.shape == (2, 5, 1, 28, 28)


def test_every_point_is_of_a_sinusoid_of_its_own() -> None:
    (batch,) = Sinusoid(meta_batch=1, epoch_batches=1, flat_batch=4000).train_dataloader()
    x, y = batch.query.x.flatten(), batch.query.y.flatten()
    assert batch.query.y.shape == (1, 4000, 1)
    assert float(y.abs().max()) <= 5
    near = y[(x - 1).abs() < 0.2]  # one sinusoid has one value there
    assert float(near.std()) > 1


class NoFlat(SinusoidTasks):
    draw_flat = Tasks.draw_flat


def test_what_cannot_be_is_refused(shard_root: Path) -> None:
    with pytest.raises(InputError, match="flat_batch is -1: give"):
        EpisodeStream(SinusoidTasks(), "train", SIZE, 4, flat=-1)
    with pytest.raises(InputError, match=r"NoFlat has no flat batches: set data\.flat_batch to 0"):
        next(iter(EpisodeStream(NoFlat(), "train", SIZE, 4, flat=3)))
    with pytest.raises(InputError, match="has no split 'trian'"):
        ImageTasks(ShardSet(str(shard_root))).draw_flat(Key(0, "trian", 0, 0), 3)
