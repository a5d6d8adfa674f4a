"""The global sequence of episodes is a pure function of seed, split, epoch and index, whoever reads it."""

import hashlib
import inspect
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from webdataset.pipeline import DataPipeline

from datamodules.images import ImageEpisodes
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream, Tasks
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.sampling.meta_batches import Key
from datamodules.sinusoid import Sinusoid, SinusoidTasks
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import Episode, InputError

RANGES = EpisodeSize((2, 5), (1, 3), (1, 4))
Bytes = list[tuple[torch.dtype, tuple[int, ...], bytes]]


@pytest.fixture(params=["images", "sinusoids"])
def opened(request: pytest.FixtureRequest, shard_root: Path) -> Callable[[], Tasks]:
    """Opens a task distribution anew, as every process does."""
    if request.param == "sinusoids":
        return SinusoidTasks
    return lambda: ImageTasks(ShardSet(str(shard_root)))


def raw(episode: Episode) -> Bytes:
    """All that a learner sees of an episode."""
    return [(t.dtype, tuple(t.shape), t.numpy().tobytes()) for t in (*episode.support, *episode.query)]


def joined(parts: Sequence[Episode]) -> Bytes:
    """Meta-batches, one after the other along the tasks axis."""
    tensors = zip(*((*part.support, *part.query) for part in parts), strict=True)
    return [(t.dtype, tuple(t.shape), t.numpy().tobytes()) for t in map(torch.cat, tensors)]


def read(tasks: Tasks, workers: int = 0, size: EpisodeSize = RANGES, **options: Any) -> list[Episode]:
    options = {"episodes": 20, "meta_batch": 8} | options  # so the last meta-batch is a half one
    return list(MetaLoader(EpisodeStream(tasks, "train", size, **options), workers))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # more than this machine's cores
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_sequence_is_the_same_for_any_ranks_and_workers(
    opened: Callable[[], Tasks], world: int, workers: int
) -> None:
    whole = read(opened())
    assert [len(batch.query.x) for batch in whole] == [8, 8, 4]
    ranks = [read(opened(), workers, rank=rank, world=world) for rank in range(world)]
    assert [[len(batch.query.x) for batch in share] for share in ranks] == [
        [8 // world, 8 // world, 4 // world]
    ] * world
    assert [joined(shares) for shares in zip(*ranks, strict=True)] == [raw(batch) for batch in whole]


PRINT_DIGEST = """
import hashlib, sys
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
stream = EpisodeStream(ImageTasks(ShardSet(sys.argv[1])), "val", EpisodeSize((2, 5), (1, 3), (1, 4)), 9, 4, seed=3)
print(hashlib.sha256(b"".join(t.numpy().tobytes() for e in stream for t in (*e.support, *e.query))).hexdigest())
"""


@pytest.mark.slow
def test_another_process_reads_the_same_sequence(shard_root: Path) -> None:
    stream = EpisodeStream(ImageTasks(ShardSet(str(shard_root))), "val", RANGES, 9, 4, seed=3)
    digest = hashlib.sha256(b"".join(part[2] for episode in stream for part in raw(episode))).hexdigest()
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", PRINT_DIGEST, str(shard_root)]
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip() == digest


def test_every_seed_split_epoch_and_index_names_an_episode_of_its_own(opened: Callable[[], Tasks]) -> None:
    keys = list(itertools.starmap(Key, itertools.product((0, 1, 2**40), ("train", "val", "test"), (0, 1), range(5))))
    tasks, others = opened(), opened()
    episodes = [repr(raw(tasks.draw(key, 2, 1, 2))) for key in keys]
    assert len(set(episodes)) == len(keys)
    torch.manual_seed(5)
    torch.rand(1)
    assert [repr(raw(others.draw(key, 2, 1, 2))) for key in reversed(keys)] == episodes[::-1]


def test_the_stream_reads_the_episodes_that_the_keys_name(opened: Callable[[], Tasks]) -> None:
    stream = EpisodeStream(opened(), "val", EpisodeSize(3, 2, 2), 7, 3, seed=4)
    stream.epoch = 6
    tasks = opened()
    named = [tasks.draw(Key(4, "val", 6, index), 3, 2, 2) for index in range(7)]
    assert [raw(batch) for batch in stream] == [joined(named[:3]), joined(named[3:6]), joined(named[6:])]


@pytest.mark.parametrize("meta_batch", [1, 2, 5, 12, 50])
def test_an_episode_is_the_same_in_any_meta_batch(opened: Callable[[], Tasks], meta_batch: int) -> None:
    size = EpisodeSize(4, 1, 2)
    one_by_one = read(opened(), size=size, episodes=12, meta_batch=1)
    batches = read(opened(), size=size, episodes=12, meta_batch=meta_batch)
    assert len(batches) == -(-12 // meta_batch)
    assert joined(batches) == joined(one_by_one)


def test_ranges_are_drawn_once_a_meta_batch_and_reach_their_bounds(shard_root: Path) -> None:
    drawn = []
    for batch in read(ImageTasks(ShardSet(str(shard_root))), episodes=120, meta_batch=2):
        counts = [torch.stack([task.bincount() for task in part.y]) for part in batch]
        assert all(len(count.unique()) == 1 for count in counts)  # every class of both tasks has as many
        drawn.append((counts[0].shape[1], int(counts[0][0, 0]), int(counts[1][0, 0])))
    ways, shots, queries = map(set, zip(*drawn, strict=True))
    assert (ways, shots, queries) == ({2, 3, 4, 5}, {1, 2, 3}, {1, 2, 3, 4})


def test_points_of_a_sinusoid_are_drawn_from_ranges() -> None:
    batches = read(SinusoidTasks(), episodes=120, meta_batch=2)
    assert {batch.support.x.shape[1] for batch in batches} == {1, 2, 3}
    assert {batch.query.x.shape[1] for batch in batches} == {1, 2, 3, 4}


@pytest.mark.parametrize(("split", "classes"), [("train", range(16)), ("val", range(16, 22)), ("test", range(22, 30))])
def test_an_episode_has_distinct_classes_and_support_apart_from_queries(
    shard_root: Path, split: str, classes: range
) -> None:
    shards = ShardSet(str(shard_root))
    known = {
        image.tobytes(): (record, i)
        for record in range(30)
        for i, image in enumerate(shards.images(record, np.arange(12)))
    }
    assert len(known) == 30 * 12
    stream = EpisodeStream(ImageTasks(shards), split, EpisodeSize(5, 3, 4), episodes=20, meta_batch=4)
    for support, query in stream:
        assert (support.x.shape, query.x.shape) == ((4, 15, 1, 28, 28), (4, 20, 1, 28, 28))
        assert (support.y.shape, query.y.shape) == ((4, 15), (4, 20))
        assert (support.x.dtype, support.y.dtype) == (torch.uint8, torch.int64)
        for task in range(4):
            seen, class_of = set[tuple[int, int]](), dict[int, int]()
            for x, y, count in ((support.x[task], support.y[task], 3), (query.x[task], query.y[task], 4)):
                assert y.bincount().tolist() == [count] * 5
                found = [known[image.numpy().tobytes()] for image in x]
                for label, (record, _) in zip(y.tolist(), found, strict=True):
                    assert class_of.setdefault(label, record) == record
                seen |= set(found)
            assert len(seen) == 5 * (3 + 4)
            assert len(set(class_of.values())) == 5
            assert set(class_of.values()) <= set(classes)


def loader(tasks: Tasks, workers: int, rank: int = 0, world: int = 1) -> MetaLoader:
    return MetaLoader(EpisodeStream(tasks, "train", RANGES, 18, 4, rank=rank, world=world), workers)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("passed", [0, 1])
@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_a_loader_resumes_with_the_very_next_meta_batch(shard_root: Path, workers: int, passed: int, stop: int) -> None:
    """Wherever it stopped: `stop` of 5 meta-batches into a pass, after so many whole passes; and onto two ranks."""

    def opened() -> Tasks:
        return ImageTasks(ShardSet(str(shard_root)))

    stopped, whole = loader(opened(), workers), list[Bytes]()
    for epoch in range(4):
        stopped.stream.epoch = epoch
        whole += [raw(batch) for batch in stopped.stream]
    assert len(whole) == 20
    for _ in range(passed):
        list(stopped)
    if stop:
        batches = iter(stopped)
        assert [raw(next(batches)) for _ in range(stop)] == whole[5 * passed :][:stop]
    state = json.loads(json.dumps(stopped.state_dict()))
    ranks = [loader(opened(), workers), loader(opened(), 0, 0, 2), loader(opened(), 0, 1, 2)]
    for resumed in ranks:
        resumed.load_state_dict(state)
    assert [raw(batch) for _ in range(2) for batch in ranks[0]][:6] == whole[5 * passed + stop :][:6]
    shares = zip(ranks[1], ranks[2], strict=True)
    assert [joined(share) for share in shares][:1] == whole[5 * passed + stop :][:1]


def test_a_loader_that_is_told_the_epoch_reads_that_epoch(opened: Callable[[], Tasks]) -> None:
    stream = EpisodeStream(opened(), "train", RANGES, 6, 2)
    told = MetaLoader(stream, epoch=lambda: 5)
    first, again = list(told), list(told)
    stream.epoch, stream.start = 5, 0
    named = [raw(batch) for batch in stream]
    assert [raw(batch) for batch in first] == [raw(batch) for batch in again] == named
    assert [raw(batch) for batch in MetaLoader(stream)] != named


@pytest.mark.parametrize("stage", ["val", "test"])
def test_evaluation_episodes_are_frozen_and_training_ones_are_not(shard_root: Path, stage: str) -> None:
    def data(**options: Any) -> ImageEpisodes:
        sizes = {"eval_ways": 4, "eval_shots": 1, "eval_queries": 3, "val_episodes": 8, "test_episodes": 8}
        return ImageEpisodes(str(shard_root), queries=3, epoch_batches=2, **sizes, **options)

    evaluation, training = getattr(data(), f"{stage}_dataloader")(), data().train_dataloader()
    episodes = joined(list(evaluation))
    assert episodes == joined(list(evaluation))
    other_training = data(ways=3, shots=2, meta_batch=2, num_workers=2)
    assert joined(list(other_training.train_dataloader()))[0][1] == (4, 6, 1, 28, 28)
    assert episodes == joined(list(getattr(other_training, f"{stage}_dataloader")()))
    assert episodes != joined(list(getattr(data(seed=1), f"{stage}_dataloader")()))
    assert joined(list(training)) != joined(list(training))


def test_several_processes_that_nobody_numbered_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"several processes would read the same episodes: give .* its rank and world"):
        EpisodeStream(SinusoidTasks(), "train", RANGES, 20)
    with pytest.raises(InputError, match="rank and world"):
        Sinusoid().train_dataloader()
    assert len(list(EpisodeStream(SinusoidTasks(), "train", RANGES, 20, 4, rank=1, world=2))) == 5
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert len(list(EpisodeStream(SinusoidTasks(), "train", RANGES, 20, 4))) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"meta_batch": 3}, "meta_batch is 3, which 2 processes cannot share evenly: make it a multiple of 2"),
        ({"meta_batch": 0}, "meta_batch is 0"),
        ({"episodes": 21}, "episodes is 21, which 2 processes cannot share evenly: make it a multiple of 2"),
        ({"seed": -1}, "seed is -1: give 0 or more"),
        ({"size": EpisodeSize(0, 1, 1)}, "ways is 0: give a number of 1 or more, or"),
        ({"size": EpisodeSize(5, (3, 2), 1)}, r"shots is \(3, 2\).*first <= last"),
        ({"size": EpisodeSize(5, 1, (0, 4))}, r"queries is \(0, 4\): give a number of 1 or more"),
    ],
)
def test_a_stream_that_cannot_be_refuses(options: dict[str, Any], message: str) -> None:
    legal = {"size": RANGES, "episodes": 20, "meta_batch": 4, "rank": 0, "world": 2}
    EpisodeStream(SinusoidTasks(), "train", **legal)
    with pytest.raises(InputError, match=message):
        EpisodeStream(SinusoidTasks(), "train", **(legal | options))


@pytest.mark.parametrize("name", ["meta_batch", "epoch_batches", "val_episodes", "test_episodes"])
def test_a_data_module_needs_episodes(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}.* must be 1 or more"):
        Sinusoid(**{name: 0})


@pytest.mark.slow
def test_classes_images_and_labels_are_drawn_uniformly(tmp_path: Path) -> None:
    """Images are two pixels, the numbers of class and image. Draws: 12,000 classes of 16, and as many images of 10."""
    pairs = np.stack(np.meshgrid(np.arange(16), np.arange(10), indexing="ij"), -1).astype(np.uint8)
    images = np.repeat(pairs[:, :, None, :, None], 2, axis=-1)
    numbered = [ClassImages(f"class {i}", "train", image) for i, image in enumerate(images)]
    write_shards(tmp_path / "set", "numbered", Preprocess(2, 1), numbered)
    stream = EpisodeStream(ImageTasks(ShardSet(str(tmp_path / "set"))), "train", EpisodeSize(3, 1, 2), 4000, 4000)
    ((support, query),) = stream
    label, drawn = support.y.flatten(), support.x[:, :, 0, :, 0].long().flatten(0, 1)
    queried = query.x[:, :, 0, 1, 0].long().flatten()
    assert (
        chi_square(drawn[:, 0].bincount()) < 44
    )  # of 15 degrees of freedom, 1 in 10,000; 0.9 and 1.1 by turns give 120
    assert chi_square(drawn[:, 1].bincount()) < 34  # of 9, likewise
    assert chi_square(queried.bincount()) < 34
    assert chi_square((label * 16 + drawn[:, 0]).bincount()) < 98  # of 47


def chi_square(counts: torch.Tensor) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def test_the_stream_is_a_webdataset_pipeline_and_composes_with_its_stages(opened: Callable[[], Tasks]) -> None:
    stream = EpisodeStream(opened(), "train", RANGES, 12, 2)
    assert isinstance(inspect.getgeneratorlocals(iter(stream))["self"], DataPipeline)
    pipeline = wds.DataPipeline(stream, wds.map(raw), wds.slice(1, 4))
    assert list(pipeline) == [raw(batch) for batch in stream][1:4]
