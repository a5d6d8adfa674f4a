"""Shards behind a real HTTP server: copied whole, checked, kept in a bounded cache, and read as local ones."""

import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from datamodules.images import ImageEpisodes
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import Episode, InputError

SHARDS, OF_SHARD = 6, 2
SIZE = EpisodeSize(3, 1, 2)


class Server(NamedTuple):
    """`python -m http.server`, and the shard set `set` that it serves."""

    url: str
    root: Path
    log: Path

    def fetched(self) -> Counter[str]:
        """Count how often each shard was sent."""
        return Counter(re.findall(r'"GET /set/(\S+\.tar) HTTP/1\.\d" 200', self.log.read_text()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (5, 1, 32, 32)).astype(np.uint8) for _ in range(SHARDS * OF_SHARD)]
    for i, image in enumerate(images):
        image[:, 0, 0, 0] = i
    classes = [ClassImages(f"class {i}", "train", image) for i, image in enumerate(images)]
    write_shards(tmp_path / "www" / "set", "made up", Preprocess(32, 1), classes, shard_megabytes=0.01)
    assert len(list((tmp_path / "www" / "set").glob("*.tar"))) == SHARDS
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", tmp_path / "www"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout
        with process.stdout:
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address
            yield Server(f"{address[0]}/set", tmp_path / "www" / "set", tmp_path / "log")
            process.terminate()
            process.wait()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, named as a user names it."""
    monkeypatch.setenv("LIGHTNING_META_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stream(root: str | Path, episodes: int) -> EpisodeStream:
    tasks = ImageTasks(ShardSet(str(root)))
    return EpisodeStream(tasks, "train", SIZE, episodes, 4)


def raw(batches: list[Episode]) -> list[bytes]:
    return [part.x.numpy().tobytes() for batch in batches for part in batch]


def classes(batch: Episode) -> list[int]:
    return batch.support.x[:, :, 0, 0, 0].flatten().tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_remote_reads_as_local_byte_for_byte(server: Server, cache: Path, workers: int) -> None:
    local, remote = stream(server.root, 40), stream(server.url, 40)
    assert raw(list(MetaLoader(remote, workers))) == raw(list(local))
    copies = sorted(path.read_bytes() for path in cache.glob("*.tar"))
    assert copies == sorted(path.read_bytes() for path in server.root.glob("*.tar"))
    sent = server.fetched()
    assert raw(list(stream(server.url, 40))) == raw(list(local))
    assert server.fetched() == sent  # the second time, all came from the cache


def test_a_cache_without_room_is_refused(server: Server) -> None:
    with pytest.raises(InputError, match=r"the cache of remote shards has 0\.0 GB: give more than 0"):
        ImageEpisodes(server.url, cache_gigabytes=0.0)


def test_an_address_without_a_set_is_refused(server: Server, cache: Path) -> None:
    with pytest.raises(InputError, match=rf"^cannot read {server.url}x/index\.json: .*Check the address"):
        ShardSet(server.url + "x")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=rf"^cannot read http://127\.0\.0\.1:{port}/set/index\.json: "):
        ShardSet(f"http://127.0.0.1:{port}/set")
    assert not cache.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_is_not_there_is_refused_or_skipped(server: Server, cache: Path, workers: int) -> None:
    (server.root / "train-000002.tar").unlink()
    with pytest.raises(InputError, match=rf"^cannot copy {server.url}/train-000002\.tar here: .*Check the address"):
        list(MetaLoader(stream(server.url, 40), workers))
    shards = ShardSet(server.url, "skip")
    skipping = MetaLoader(EpisodeStream(ImageTasks(shards), "train", SIZE, 60), workers)
    drawn = {i for batch in skipping for i in classes(batch)}
    assert drawn == set(range(12)) - {4, 5}
    assert shards.report() == f"2 of 12 classes of {server.url} are damaged and were skipped: class 4, class 5"
    assert len(list(cache.glob("*.tar"))) == SHARDS - 1


@pytest.mark.parametrize("damage", ["flipped", "truncated", "another"])
def test_a_shard_with_another_checksum_is_refused_and_not_kept(server: Server, cache: Path, damage: str) -> None:
    path = server.root / "train-000000.tar"
    data = path.read_bytes()
    if damage == "another":
        shutil.copy(server.root / "train-000001.tar", path)
    else:
        path.write_bytes(data[:5000] if damage == "truncated" else data[:5000] + b"\xff" + data[5001:])
    with pytest.raises(InputError, match=r"train-000000\.tar came with \d+ bytes and another checksum"):
        ShardSet(server.url).images(0, np.arange(5))
    assert [path.suffix for path in cache.iterdir()] == [".columns"]
    path.write_bytes(data)
    assert np.array_equal(
        ShardSet(server.url).images(0, np.arange(5)), ShardSet(str(server.root)).images(0, np.arange(5))
    )


@pytest.mark.parametrize("kept", [b"", b"half a shard"])
def test_a_copy_that_was_cut_off_is_copied_again(server: Server, cache: Path, kept: bytes) -> None:
    first = ShardSet(server.url).images(0, np.arange(5))
    (copy,) = cache.glob("*.tar")
    copy.write_bytes(kept)
    assert np.array_equal(ShardSet(server.url).images(0, np.arange(5)), first)
    assert copy.read_bytes() == (server.root / "train-000000.tar").read_bytes()
