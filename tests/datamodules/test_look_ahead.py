"""Looking ahead: what later meta-batches of a remote set need is fetched by a thread, and the episodes are the same."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.images import ImageEpisodes
from datamodules.reading import ranges, remote
from datamodules.reading.cache import ShardCache
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.configured_size import ConfiguredSize
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.sampling.look_ahead import fetched_ahead
from datamodules.writing.shards import ClassImages, Preprocess, write_shards
from lightning_meta.core import Episode, InputError
from support.faulty_server import Server, serving, unavailable

SIDE, CLASSES, IMAGES = 150, 6, 12
RANGES, WHOLE = 5e-4, 1.0  # GB of a cache that is smaller than the set, and of one that holds it
SIZE = EpisodeSize(3, 1, 2)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("LIGHTNING_META_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "DELAYS", (0.01, 0.02))
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (IMAGES, 1, SIDE, SIDE), dtype=np.uint8) for _ in range(CLASSES))
    classes = [ClassImages(f"c{i}", "train", each) for i, each in enumerate(images)]
    write_shards(tmp_path / "www" / "set", "large", Preprocess(SIDE, 1), classes, shard_megabytes=0.3)
    with serving(tmp_path / "www" / "set") as found:
        yield found


def stream(place: str, gigabytes: float = RANGES, **options: Any) -> EpisodeStream:
    shards = ShardSet(place, cache=ShardCache(gigabytes))
    return EpisodeStream(ImageTasks(shards), "train", SIZE, episodes=24, meta_batch=4, **options)


def episodes(found: EpisodeStream, workers: int = 0) -> list[Episode]:
    return list(MetaLoader(found, workers))


def tensors(batch: Any) -> list[torch.Tensor]:
    parts = batch if isinstance(batch, list) else [batch]
    return [tensor for part in parts for examples in part[:2] for tensor in examples]


def same(ours: list[Any], theirs: list[Any]) -> bool:
    pairs = [(tensors(one), tensors(other)) for one, other in zip(ours, theirs, strict=True)]
    return all(len(a) == len(b) and all(map(torch.equal, a, b)) for a, b in pairs)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "look ahead"]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # more than this machine's cores
@pytest.mark.parametrize("gigabytes", [RANGES, pytest.param(WHOLE, marks=pytest.mark.slow)])
@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_sequence_is_that_of_the_local_set(server: Server, world: int, workers: int, gigabytes: float) -> None:
    place = {"rank": world - 1, "world": world}
    expected = episodes(stream(str(server.root), **place))
    assert same(episodes(stream(server.url, gigabytes, **place), workers), expected)


@pytest.mark.parametrize("options", [{"flat": 10}, {"sampler": ConfiguredSize()}], ids=["flat", "composed"])
def test_every_kind_of_batch_is_fetched_whole_beforehand(server: Server, options: dict[str, Any]) -> None:
    ours, fetched = stream(server.url, **options), stream(server.url, **options)
    fetch = fetched.fetcher()
    assert fetch is not None
    fetch([3])
    asked = server.asked.total()
    batch = ours.read(3)
    assert server.asked.total() == asked, "reading found everything in the cache"
    assert same([batch], [stream(server.url, look_ahead=0, **options).read(3)])


def test_what_comes_next_is_fetched_while_a_number_is_used_and_no_more() -> None:
    fetched = list[int]()
    numbers = fetched_ahead(iter(range(10)), fetched.extend, 3)
    assert next(numbers) == 0
    wait_until(lambda: fetched == [0, 1, 2, 3])
    assert next(numbers) == 1
    wait_until(lambda: fetched == [0, 1, 2, 3, 4])
    assert list(numbers) == list(range(2, 10))
    assert fetched == list(range(10))


def test_a_resume_in_the_middle_goes_on_with_the_same_episodes(server: Server) -> None:
    whole = episodes(stream(str(server.root)))
    first = MetaLoader(stream(server.url))
    batches = iter(first)
    begun = [next(batches), next(batches)]
    second = MetaLoader(stream(server.url), num_workers=2)
    second.load_state_dict(first.state_dict())
    assert same([*begun, *second], whole)


@pytest.mark.parametrize("look_ahead", [0, 4])
def test_no_thread_is_begun_without_need(server: Server, look_ahead: int) -> None:
    place = server.url if look_ahead == 0 else str(server.root)
    for _ in MetaLoader(stream(place, look_ahead=look_ahead)):
        assert not threads()


@pytest.mark.parametrize("end", ["dropped", "closed", "exhausted"])
def test_no_thread_stays_when_the_iteration_ends(server: Server, end: str) -> None:
    batches = iter(MetaLoader(stream(server.url)))
    next(batches)
    assert len(threads()) == 1
    if end == "exhausted":
        list(batches)
    elif end == "closed":
        batches.close()  # type: ignore[attr-defined]
    del batches
    gc.collect()
    wait_until(lambda: not threads())


def test_an_error_comes_with_the_number_that_needs_the_bytes() -> None:
    used = list[int]()

    def fetch(asked: list[int]) -> None:
        if max(asked) >= 3:
            raise InputError("the server is away")

    for number in fetched_ahead(iter(range(6)), fetch, 4):
        used.append(number)
    assert used == list(range(6)), "whoever reads them meets the error, or does not"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_that_goes_away_ends_the_run_with_one_line(server: Server, workers: int) -> None:
    for path in server.root.glob("*.tar"):
        server.faults[path.name] = [unavailable] * 9999
    with pytest.raises(InputError, match=r"^cannot read http\S+\.tar: .+ the network$"):
        episodes(stream(server.url), workers)
    wait_until(lambda: not threads())


def test_a_server_that_comes_back_is_no_error(server: Server) -> None:
    for path in server.root.glob("*.tar"):
        server.faults[path.name] = [unavailable] * 3
    assert same(episodes(stream(server.url)), episodes(stream(str(server.root))))


def test_damage_is_raised_where_it_is_read_and_skipped_where_asked(server: Server) -> None:
    shard = min(server.root.glob("*.tar"))
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(InputError, match="is damaged"):
        episodes(stream(server.url))
    skipping = [
        EpisodeStream(ImageTasks(ShardSet(place, "skip", ShardCache(RANGES))), "train", SIZE, 12, 4)
        for place in (server.url, str(server.root))
    ]
    assert same(*map(episodes, skipping))


def test_a_mistake_in_fetching_is_not_hidden() -> None:
    def fetch(asked: list[int]) -> None:
        raise KeyError(asked[0])

    with pytest.raises(KeyError):
        list(fetched_ahead(iter(range(3)), fetch, 2))


def test_bytes_in_flight_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PORTION", 3 * SIDE**2)
    sizes, fetch_ranges = list[int](), ranges.fetch_ranges

    def counting(asked: list[tuple[str, int, int]]) -> list[bytes]:
        sizes.append(sum(last - first for _, first, last in asked))
        return fetch_ranges(asked)

    monkeypatch.setattr(ranges, "fetch_ranges", counting)
    found = stream(server.url)
    assert same(episodes(found), episodes(stream(str(server.root))))
    assert max(sizes) <= 3 * SIDE**2


FORKING = """
import os, sys
from datamodules.images import ImageEpisodes
data = ImageEpisodes(sys.argv[1], ways=3, queries=2, meta_batch=2, epoch_batches=8, splits=("train",) * 3,
                     cache_gigabytes=5e-4)
batches = iter(data.stream("train"))
next(batches)
if (child := os.fork()) == 0:
    batches.close()
    print(len(list(data.stream("train"))), flush=True)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print("done", flush=True)
"""  # the parent ends in the middle of its iteration


@pytest.mark.slow
def test_a_fork_and_an_early_end_of_the_process_do_not_hang(server: Server) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, server.url]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert said.stdout.split() == ["8", "done"], said.stderr


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(InputError, match="look_ahead is -1: give 0 or more"):
        ImageEpisodes("set", look_ahead=-1)
