"""Sets of more shards than a process may have open, of arrays of more than 8 GiB, and of shards that shrink while read."""

import io
import pickle
import resource
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.index.shard_index import Blob, Index, Record, Shard
from datamodules.reading import shard_set as of_shards
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
    assert len(index.shards) == CLASSES
    return out


def numbers(x: torch.Tensor) -> set[int]:
    pixels = (x[..., 0, 0, :] * 255).round().int()
    return set((256 * pixels[..., 0] + pixels[..., 1]).flatten().tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_of_more_shards_than_files_may_be_open(root: Path, workers: int) -> None:
    with files_at_most(of_shards.OPEN + 110):  # 110 for the interpreter, the loader and the tests
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
        assert numbers(torch.from_numpy(found.astype(np.float32)) / 255) == {record}


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_shard_that_shrinks_while_it_is_read_is_damaged_and_kills_nothing(tmp_path: Path, on_error: str) -> None:
    classes = [ClassImages(f"c{i}", "train", np.full((9, 3, 150, 150), i, np.uint8)) for i in range(4)]
    write_shards(tmp_path / "set", "shrinking", Preprocess(150), classes, shard_megabytes=0.1)
    shards = ShardSet(str(tmp_path / "set"), on_error)  # type: ignore[arg-type]
    for record in range(4):
        assert (shards.images(record, np.arange(9)) == record).all()
    with (tmp_path / "set" / shards.index.shards[2].path).open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(DamageError, match=r"train-000002\.tar has become shorter while it was read"):
        shards.images(2, np.arange(9))
    stream = EpisodeStream(ImageTasks(shards), "train", EpisodeSize(3, 1, 1), 20)
    if on_error == "raise":
        with pytest.raises(DamageError, match="shorter"):
            list(stream)
    else:
        assert all(2 / 255 not in episode.query.x for episode in stream)
        assert (shards.report() or "").startswith("1 of 4 classes of")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("wrong", [0, 512])
def test_an_array_of_more_than_8_gib_is_where_the_index_says(tmp_path: Path, form: int, wrong: int) -> None:
    """9 GiB of zeros that take no room on the disk, behind the header that a tar has for them."""
    shape = (9 * 2**30 // (1024 * 1024 * 3), 3, 1024, 1024)
    npy, size = io.BytesIO(), int(np.prod(shape))
    np.lib.format.write_array_header_1_0(npy, {"descr": "|u1", "fortran_order": False, "shape": shape})
    member = tarfile.TarInfo("000000.images.npy")
    member.size = len(npy.getvalue()) + size
    head = member.tobuf(form) + npy.getvalue()
    path = tmp_path / "train-000000.tar"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size + 10240)
    blob = (len(head) + wrong, size, 0)
    index = Index(
        "large",
        Preprocess(1024),
        False,
        (Shard(path.name, path.stat().st_size, "0" * 64),),
        (Record("c0", 0, shape[0], (Blob(*blob),)),),
        {"train": [0]},
    )
    (tmp_path / "index.json").write_text(index.to_json())
    if wrong:
        with pytest.raises(DamageError, match="is not where it says"):
            ShardSet(str(tmp_path))
        return
    shards = ShardSet(str(tmp_path))
    shards._checked.add((0, 0))  # the checksum of 9 GiB takes a while
    with path.open("r+b") as file:
        file.seek(len(head) + (shape[0] - 1) * 3 * 2**20)
        file.write(b"\7" * (3 * 2**20))
    found = shards.images(0, np.array([shape[0] - 1, 0]))
    assert [set(image.flatten().tolist()) for image in found] == [{7}, {0}]


def test_a_checksum_is_taken_of_any_length(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(40 * 2**20 + 7)
    (tmp_path / "x").write_bytes(data)
    file = ShardFile(tmp_path / "x", len(data))
    assert file.crc32(5, len(data) - 9) == zlib.crc32(data[5:-4])
    assert bytes(file.rows(3, 11, np.array([2, 0]))) == data[25:36] + data[3:14]
    with pytest.raises(DamageError, match=rf"x is {len(data)} bytes long; the index says 5 bytes"):
        ShardFile(tmp_path / "x", 5)
