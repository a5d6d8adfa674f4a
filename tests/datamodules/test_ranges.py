"""A remote set that is larger than the cache: only the ranges of bytes that hold the images drawn are fetched."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.images import ImageEpisodes
from datamodules.index.shard_index import Source
from datamodules.reading import remote
from datamodules.reading.cache import ShardCache
from datamodules.reading.damage import DamageError
from datamodules.reading.ranges import GAP, join_ranges
from datamodules.reading.shard_set import ShardSet
from datamodules.reading.stores import ByteRange
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.writing.shards import ClassImages, Preprocess, write_shards
from lightning_meta.core import Episode, InputError
from support.faulty_server import Fault, Server, dropped, serving, slow, unavailable

SIDE = 200  # an image of 40 kB has a checksum of its own
SMALL = 1e-3  # GB: a third of the set
CLASSES, IMAGES = 6, 12
FIRST = "train-000000.tar"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("LIGHTNING_META_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "DELAYS", (0.01, 0.02, 0.04))
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (IMAGES, 1, SIDE, SIDE), dtype=np.uint8) for _ in range(CLASSES))
    classes = [ClassImages(f"c{i}", "train", each) for i, each in enumerate(images)]
    write_shards(tmp_path / "www" / "set", "large", Preprocess(SIDE, 1), classes, shard_megabytes=0.9)
    with serving(tmp_path / "www" / "set") as found:
        yield found


def opened(server: Server, on_error: Any = "raise", gigabytes: float = SMALL) -> ShardSet:
    return ShardSet(server.url, on_error, ShardCache(gigabytes))


def local(server: Server) -> ShardSet:
    return ShardSet(str(server.root))


def episodes(shards: ShardSet, workers: int = 0) -> list[Episode]:
    stream = EpisodeStream(ImageTasks(shards), "train", EpisodeSize(3, 1, 2), 24, 4)
    return list(MetaLoader(stream, workers))


def same(ours: list[Episode], theirs: list[Episode]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(bool((a.x == b.x).all()) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_episodes_are_those_of_the_local_set(server: Server, workers: int) -> None:
    assert same(episodes(opened(server), workers), episodes(local(server)))


def test_the_bytes_of_the_images_are_fetched_and_little_else(server: Server) -> None:
    shards, which = opened(server), np.array([7, 0, 3])
    server.sent.clear()
    assert np.array_equal(shards.images(2, which), local(server).images(2, which))
    assert server.sent.total() == 3 * SIDE**2
    shards.prefetch([(4, np.array([1, 2, 3, 9])), (4, np.array([1]))])
    assert server.sent.total() == 7 * SIDE**2
    asked = server.asked.total()
    assert np.array_equal(shards.images(4, np.array([9, 2])), local(server).images(4, np.array([9, 2])))
    assert server.asked.total() == asked, "they were here already"


def test_ranges_that_lie_close_together_are_fetched_as_one() -> None:
    first, second = Source(0, "a", 10**9, None), Source(0, "b", 10**9, None)
    places = [
        ByteRange(first, 500_000, 10, 0),
        ByteRange(second, 5, 10, 0),
        ByteRange(first, 100, 10, 0),
        ByteRange(first, 110 + GAP, 1, 0),
    ]
    assert join_ranges(places) == [(first, 100, 111 + GAP), (first, 500_000, 500_010), (second, 5, 15)]
    assert join_ranges([ByteRange(first, 0, 100, 0), ByteRange(first, 20, 10, 0)]) == [(first, 0, 100)]


def test_what_one_process_fetched_serves_the_next(server: Server) -> None:
    first = opened(server).images(2, np.arange(9))
    asked = server.asked.total()
    assert np.array_equal(opened(server).images(2, np.arange(9)), first)
    assert server.asked.total() == asked + 1, "only index.json"


def test_a_damaged_copy_is_fetched_again(server: Server, tmp_path: Path) -> None:
    which = np.arange(3)
    opened(server).images(0, which)
    (copy,) = (tmp_path / "cache").glob("*.ranges")
    with copy.open("r+b") as file:
        file.seek(30_000)
        file.write(b"damage")
    assert np.array_equal(opened(server).images(0, which), local(server).images(0, which))


def test_the_cache_stays_within_its_bound_and_what_it_lost_comes_again(server: Server, tmp_path: Path) -> None:
    shards, whole = opened(server), local(server)
    every = np.arange(IMAGES)
    for _ in range(2):
        for record in range(CLASSES):
            assert np.array_equal(shards.images(record, every), whole.images(record, every))
            copies = (tmp_path / "cache").glob("*.ranges")
            assert sum(path.stat().st_blocks * 512 for path in copies) <= SMALL * 1e9 + IMAGES * SIDE**2


@pytest.mark.parametrize("fault", [unavailable, dropped, slow])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_fault_that_passes_changes_nothing(server: Server, fault: Fault, on_error: Any) -> None:
    for number in range(CLASSES):
        server.faults[f"train-{number:06d}.tar"] = [fault, fault]
    shards = opened(server, on_error)
    assert same(episodes(shards), episodes(local(server)))
    assert shards.report() is None


@pytest.mark.parametrize("fault", [unavailable, dropped])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_fault_that_stays_ends_the_run_and_is_no_damage(server: Server, fault: Fault, on_error: Any) -> None:
    server.faults[FIRST] = [fault] * 99
    shards = opened(server, on_error)
    with pytest.raises(InputError, match=rf"^cannot read {server.url}/train-\d+\.tar: .+ the network$"):
        episodes(shards)
    assert shards.report() is None


def test_a_missing_shard_is_refused_or_skipped(server: Server) -> None:
    (server.root / FIRST).unlink()
    with pytest.raises(DamageError, match=rf"cannot read {server.url}/{FIRST}: there is no such file"):
        opened(server).images(0, np.arange(2))
    shards = opened(server, "skip")
    assert len(episodes(shards)) == 6
    assert shards.report() == f"2 of 6 classes of {server.url} are damaged and were skipped: c0, c1"


def test_an_image_that_the_server_has_damaged_is_damaged(server: Server) -> None:
    (start, *_) = (blob.offset for blob in local(server).index.records[0].blobs)
    with (server.root / FIRST).open("r+b") as file:
        file.seek(start + 7)
        file.write(b"damage")
    with pytest.raises(DamageError, match=rf"class c0 in {server.url}/{FIRST} is damaged"):
        opened(server).images(0, np.arange(1))
    assert len(damage := opened(server).verify(1)) == 1
    assert opened(server).verify(3) == damage


def test_a_server_that_gives_files_only_whole_is_named_with_the_remedy(server: Server) -> None:
    server.whole_only.append(True)
    with pytest.raises(InputError, match=r"came whole, where 40000 bytes .* does not give parts .*cache_gigabytes"):
        opened(server).images(0, np.arange(1))
    assert same(episodes(opened(server, gigabytes=1.0)), episodes(local(server)))


def test_how_a_set_is_read_is_said(server: Server) -> None:
    assert "GB, by ranges of bytes; the cache of 0.001 GB is" in opened(server).describe()
    assert "GB, copied whole once; the cache of 1 GB is" in opened(server, gigabytes=1.0).describe()
    assert "in place" in local(server).describe()
    data = ImageEpisodes(server.url, 3, queries=2, splits=("train",) * 3, cache_gigabytes=SMALL, meta_batch=2)
    data.setup("fit")


READ_ALL = """
import hashlib, sys
import numpy as np
from datamodules.reading.cache import ShardCache
from datamodules.reading.shard_set import ShardSet
shards = ShardSet(sys.argv[1], cache=ShardCache(1e-3, sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
images = [shards.images(record, np.arange(12)) for _ in range(4) for record in range(6)]
print(hashlib.sha256(np.stack(images).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_share_a_cache_that_is_too_small_for_either(server: Server, tmp_path: Path) -> None:
    whole = local(server)
    images = np.stack([whole.images(record, np.arange(IMAGES)) for _ in range(4) for record in range(CLASSES)])
    command = [sys.executable, "-c", READ_ALL, server.url, tmp_path / "cache"]
    readers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for reader in readers:
        assert reader.stdout
        assert reader.stdout.readline() == "ready\n"
    for reader in readers:
        assert reader.stdin
        reader.stdin.write("go\n")
        reader.stdin.flush()
    outputs = [reader.communicate(timeout=120)[0].strip() for reader in readers]
    assert outputs == [hashlib.sha256(images.tobytes()).hexdigest()] * 2
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".columns", ".ranges"}
