"""Remote shards over a network that fails: tried again, told apart from damage, and nothing left half done."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.reading import remote
from datamodules.reading.damage import DamageError
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import InputError
from support.disks import disk, disks_possible
from support.faulty_server import Fault, Handler, Server, altered, cut_off, dropped, serving, silent, slow, unavailable


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("LIGHTNING_META_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "DELAYS", (0.01, 0.02, 0.04))
    rng = np.random.default_rng(0)
    classes = [ClassImages(f"c{i}", "train", rng.integers(0, 256, (5, 1, 40, 40)).astype(np.uint8)) for i in range(6)]
    write_shards(tmp_path / "www" / "set", "made up", Preprocess(40, 1), classes, shard_megabytes=0.001)
    assert len(list((tmp_path / "www" / "set").glob("*.tar"))) == 6
    with serving(tmp_path / "www" / "set") as found:
        yield found


FIRST = "train-000000.tar"
EPISODES = (EpisodeSize(3, 1, 2), 20)


def images(server: Server, record: int = 0, **options: Any) -> np.ndarray:
    return ShardSet(server.url, **options).images(record, np.arange(5))


def is_right(server: Server, found: np.ndarray, record: int = 0) -> bool:
    return np.array_equal(found, ShardSet(str(server.root)).images(record, np.arange(5)))


@pytest.mark.parametrize("fault", [unavailable, dropped, cut_off, altered, slow])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_fault_that_passes_is_survived(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Fault, on_error: Any
) -> None:
    server.faults[FIRST] = [fault]
    assert is_right(server, images(server, on_error=on_error))
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".columns", ".tar"]
    if fault in (unavailable, cut_off):  # aiohttp itself asks again where a connection is dropped
        assert re.search(rf"cannot copy {server.url}/{FIRST} here: .+; trying again in 0\.01 s", caplog.text)


@pytest.mark.parametrize("fault", [unavailable, dropped, cut_off])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_that_stays_ends_the_run_and_is_no_damage(
    server: Server, tmp_path: Path, fault: Fault, on_error: Any, workers: int
) -> None:
    for number in range(6):
        server.faults[f"train-{number:06d}.tar"] = [fault] * 99
    shards = ShardSet(server.url, on_error)
    with pytest.raises(InputError, match=rf"^cannot copy {server.url}/train-\d+\.tar here: .+ the network$"):
        list(MetaLoader(EpisodeStream(ImageTasks(shards), "train", *EPISODES), workers))
    assert shards.report() is None
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".columns"]
    server.faults.clear()
    found = list(MetaLoader(EpisodeStream(ImageTasks(shards), "train", *EPISODES), workers))
    local = list(EpisodeStream(ImageTasks(ShardSet(str(server.root))), "train", *EPISODES))
    assert all(bool((one.support.x == other.support.x).all()) for one, other in zip(found, local, strict=True))


def test_no_fault_changes_the_sequence_of_a_run_that_skips(server: Server) -> None:
    """One request in three fails, and one class is damaged indeed."""
    path = server.root / "train-000004.tar"
    path.write_bytes(path.read_bytes()[:3000] + b"damage" + path.read_bytes()[3006:])
    for number in range(6):
        server.faults[f"train-{number:06d}.tar"] = [unavailable, slow, dropped][number % 3 :]
    shards = ShardSet(server.url, "skip")
    found = list(EpisodeStream(ImageTasks(shards), "train", *EPISODES))
    assert shards.report() == f"1 of 6 classes of {server.url} are damaged and were skipped: c4"
    again = list(EpisodeStream(ImageTasks(ShardSet(server.url, "skip")), "train", *EPISODES))
    assert all(bool((one.query.x == other.query.x).all()) for one, other in zip(found, again, strict=True))


def test_a_server_that_hangs_is_given_up_with_a_reason(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENCE", 0.2)
    monkeypatch.setattr(remote, "DELAYS", (0.01,))
    server.faults[FIRST] = [silent, silent]
    with pytest.raises(InputError, match=rf"cannot copy {server.url}/{FIRST} here: \S.+\. Check the address"):
        images(server)
    server.faults[FIRST] = [silent]
    assert is_right(server, images(server))


def test_a_shard_may_take_longer_than_a_silence_as_long_as_bytes_come(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dribbling(handler: Handler) -> bool:
        data = Path(handler.translate_path(handler.path)).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, len(data), len(data) // 8 + 1):
            handler.wfile.write(data[start : start + len(data) // 8 + 1])
            time.sleep(0.1)
        return True

    monkeypatch.setattr(remote, "SILENCE", 0.5)
    monkeypatch.setattr(remote, "DELAYS", ())
    server.faults[FIRST] = [dribbling]
    assert is_right(server, images(server))


def test_the_index_is_asked_for_again_where_the_server_is_there(server: Server) -> None:
    server.faults["index.json"] = [unavailable, dropped]
    assert is_right(server, images(server))
    assert server.asked["index.json"] == 3


@pytest.mark.parametrize("place", ["images", "header"])
def test_a_copy_that_was_damaged_in_the_cache_is_fetched_again(server: Server, tmp_path: Path, place: str) -> None:
    assert is_right(server, images(server))
    (copy,) = (tmp_path / "cache").glob("*.tar")
    data = bytearray(copy.read_bytes())
    data[3000 if place == "images" else 5] ^= 1
    copy.write_bytes(data)
    if place == "images":
        assert is_right(server, images(server))
    assert ShardSet(server.url).verify() == []
    assert copy.read_bytes() == (server.root / FIRST).read_bytes()
    assert server.asked[FIRST] == 2


def test_a_shard_that_the_server_has_damaged_is_damaged(server: Server) -> None:
    server.faults[FIRST] = [altered] * 9
    with pytest.raises(DamageError, match="another checksum than the index says"):
        images(server)
    assert server.asked[FIRST] == 2


DOWNLOAD = """
import sys
import numpy as np
from datamodules.reading.shard_set import ShardSet
ShardSet(sys.argv[1]).images(0, np.arange(5))
"""


def test_what_a_killed_process_left_is_removed(server: Server, tmp_path: Path) -> None:
    begun = threading.Event()

    def half(handler: Handler) -> bool:
        data = Path(handler.translate_path(handler.path)).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        begun.set()
        time.sleep(1)
        return True

    server.faults[FIRST] = [half]
    reader = subprocess.Popen([sys.executable, "-c", DOWNLOAD, server.url])
    assert begun.wait(60)
    while not (left := list((tmp_path / "cache").glob("*.partial"))):
        time.sleep(0.01)
    old = time.time() - 60
    os.utime(left[0], (old, old))
    images(server, 1)
    assert left[0].exists(), "it lives and has it locked"
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    os.utime(left[0], (old, old))
    images(server, 2)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".columns", ".tar"}


def test_a_cache_that_is_a_file_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(
        InputError, match=r"cannot write \S+cache, the cache of remote (shards|files) \(LIGHTNING_META_CACHE names"
    ):
        images(server, on_error="skip")
    assert (tmp_path / "cache").read_text() == "mine"


@pytest.mark.skipif(not disks_possible(), reason="mounting needs privileges")
def test_a_cache_on_a_full_disk_ends_a_run_that_skips_too(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a shard or two of six."""
    with ExitStack() as stack:
        small = disk(stack, tmp_path / "small", kilobytes=24)
        monkeypatch.setenv("LIGHTNING_META_CACHE", str(small / "cache"))
        shards = ShardSet(server.url, "skip")
        with pytest.raises(
            InputError, match=r"cannot write .*LIGHTNING_META_CACHE.*\(No space left on device\): make room"
        ):
            list(EpisodeStream(ImageTasks(shards), "train", *EPISODES))
        assert shards.report() is None
        assert not list((small / "cache").glob("*.partial"))


@pytest.mark.skipif(not disks_possible(), reason="mounting needs privileges")
def test_a_cache_that_cannot_be_written_to_is_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        folder = disk(stack, tmp_path / "disk", megabytes=1)
        monkeypatch.setenv("LIGHTNING_META_CACHE", str(folder))
        images(server)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        assert is_right(server, images(server))
        with pytest.raises(InputError, match=r"cannot write \S+disk, the cache .*\(Read-only file system\)"):
            images(server, 1, on_error="skip")
