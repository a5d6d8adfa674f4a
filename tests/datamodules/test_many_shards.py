"""Sets of more shards than a process may have open, of arrays of more than 8 GiB, and of shards that shrink while read."""

import os
import pickle
import resource
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.index.contents import Blobs, Classes, Contents, Sources
from datamodules.reading import stores
from datamodules.reading.damage import DamageError
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_file import ShardFile
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.cli.shards import verify

CLASSES = 300


@contextmanager
def files_at_most(count: int) -> Iterator[None]:
    """As `ulimit -n`."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class a shard; an image is its class's number."""
    pictures = (np.array([i // 256, i % 256], np.uint8).reshape(1, 1, 1, 2).repeat(2, 2) for i in range(CLASSES))
    classes = (ClassImages(f"c{i}", "train", each.repeat(4, 0)) for i, each in enumerate(pictures))
    out = tmp_path_factory.mktemp("many") / "set"
    index = write_shards(out, "many", Preprocess(2, 1), classes, shard_megabytes=0.0001)
    assert len(index.sources) == CLASSES
    return out


def numbers(x: torch.Tensor) -> set[int]:
    pixels = x[..., 0, 0, :].int()
    return set((256 * pixels[..., 0] + pixels[..., 1]).flatten().tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_of_more_shards_than_files_may_be_open(root: Path, workers: int) -> None:
    with files_at_most(len(os.listdir("/proc/self/fd")) + 2 * stores.OPEN + 40):  # of two sets, and for the loader
        shards = pickle.loads(pickle.dumps(ShardSet(str(root), "skip")))
        stream = EpisodeStream(ImageTasks(shards), "train", EpisodeSize(20, 1, 1), 60)
        met = set().union(*(numbers(episode.support.x) for episode in MetaLoader(stream, workers)))
        assert met <= set(range(CLASSES))
        assert len(met) > 250  # each of 300 is missed with a probability of 0.017
        assert shards.report() is None
        assert f"{CLASSES} shards, {CLASSES} classes, all as the index says" in verify(str(root))


def test_the_first_and_the_last_shard_are_read_again(root: Path) -> None:
    shards = ShardSet(str(root))
    for record in (0, CLASSES - 1, 0, 1, CLASSES - 1):
        found = shards.images(record, np.array([3, 0]))
        assert numbers(torch.from_numpy(found)) == {record}


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_shard_that_shrinks_while_it_is_read_is_damaged_and_kills_nothing(tmp_path: Path, on_error: str) -> None:
    classes = [ClassImages(f"c{i}", "train", np.full((9, 3, 150, 150), i, np.uint8)) for i in range(4)]
    write_shards(tmp_path / "set", "shrinking", Preprocess(150), classes, shard_megabytes=0.1)
    shards = ShardSet(str(tmp_path / "set"), on_error)  # type: ignore[arg-type]
    for record in range(4):
        assert (shards.images(record, np.arange(9)) == record).all()
    with (tmp_path / "set" / shards.index.sources[2].path).open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(DamageError, match=r"train-000002\.tar has become shorter while it was read"):
        shards.images(2, np.arange(9))
    stream = EpisodeStream(ImageTasks(shards), "train", EpisodeSize(3, 1, 1), 20)
    if on_error == "raise":
        with pytest.raises(DamageError, match="shorter"):
            list(stream)
    else:
        assert all(2 not in episode.query.x for episode in stream)
        assert (shards.report() or "").startswith("1 of 4 classes of")


@pytest.mark.parametrize("place", [0, 5 * 2**30])
def test_a_class_of_many_arrays_is_read_wherever_they_lie(tmp_path: Path, place: int) -> None:
    """Arrays of three images of 3 MB, in a shard of up to 9 GiB that takes no room on the disk."""
    each, sizes = 3 * 2**20, [3, 3, 1]
    path, offsets, sums = tmp_path / "train-000000.tar", list[int](), list[int]()
    with path.open("wb") as file:
        for number, images in enumerate(sizes):
            data = b"".join(bytes([10 * number + image]) * each for image in range(images))
            offsets.append(place + number * 2**30)
            sums.append(zlib.crc32(data))
            file.seek(offsets[-1])
            file.write(data)
    blobs = Blobs(np.zeros(3, int), np.array(offsets), np.array([images * each for images in sizes]), np.array(sums))
    sources, classes = Sources([path.name], np.array([path.stat().st_size])), Classes(["c0"], np.array([7]))
    Contents("large", Preprocess(1024), False, sources, blobs, classes, {"train": [0]}, 3).write(tmp_path)
    shards = ShardSet(str(tmp_path))
    found = shards.images(0, np.array([6, 1, 4, 2, 0, 5, 3]))
    assert [set(image.flatten().tolist()) for image in found] == [{20}, {1}, {11}, {2}, {0}, {12}, {10}]
    assert shards.verify() == []


def test_a_checksum_is_taken_of_any_length(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(40 * 2**20 + 7)
    (tmp_path / "x").write_bytes(data)
    file = ShardFile(tmp_path / "x", len(data))
    assert file.crc32(5, len(data) - 9) == zlib.crc32(data[5:-4])
    file.read_into(25, memoryview(out := bytearray(11)))
    assert bytes(out) == data[25:36]
    with pytest.raises(DamageError, match=rf"x is {len(data)} bytes long; the index says 5 bytes"):
        ShardFile(tmp_path / "x", 5)
