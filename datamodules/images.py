"""Few-shot image classification from a shard set: draw classes, then images of each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.episode_data import EpisodeData
from datamodules.index import class_names
from datamodules.index.trained_on import check_shape, images_of
from datamodules.reading.cache import ShardCache
from datamodules.reading.damage import DamageError
from datamodules.reading.shard_set import Images, OnError, ShardSet
from datamodules.sampling.episodes import EpisodeSize, Range, Tasks
from datamodules.sampling.flat import Passes
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import Episode, Examples, InputError, flat_batch


class ImageTasks(Tasks):
    """A task is `ways` classes of a split, uniformly without replacement, and of each `shots + queries` images likewise.
    Support examples come in random order, queries class by class.

    Where the split has more shards than the cache of a remote set holds, the classes come from a window of one fewer
    than that, in an order drawn anew each epoch; every `window_episodes` episodes it moves on by one shard. An epoch of
    `window_episodes` times the split's shards gives every class the same chance.
    """

    def __init__(self, shards: ShardSet, window_episodes: int = 200):
        self.shards, self.window_episodes = shards, window_episodes
        self._damaged = shards.damaged.numpy().copy()  # as found at opening: finding more must not change the sequence
        self._pools: dict[str, _Pool] = {}
        self._trained: dict[str, torch.Tensor] = {}
        self._passes: dict[str, Passes] = {}
        self._window: tuple[Key, NDArray[np.integer]] | None = None

    def check(self, split: str, size: EpisodeSize) -> None:
        ways, shots, queries = size.largest()
        pool = self._pool(split)
        if ways > len(pool.records):
            sizes = {name: len(self._pool(name).records) for name in self.shards.index.splits}
            listed = ", ".join(f"{name} {count}" for name, count in sizes.items())
            raise InputError(
                f"{ways} ways were asked of split {split!r} of {self.shards.root}, which has"
                f" {len(pool.records)} classes to draw from: ask for {len(pool.records)} ways or fewer"
                f"{f' ({report})' if (report := self.report()) else ''}. {min(sizes.values())} or fewer suit every split"
                f" ({listed}); ways sets those of training, eval_ways those of validation and test"
            )
        needed = shots + queries
        smallest = min(pool.records.tolist(), key=self.shards.count)
        if needed > (count := self.shards.count(smallest)):
            raise InputError(
                f"{shots} shots and {queries} queries were asked, {needed} images a class, but class"
                f" {self.shards.index.records[smallest].name!r} of split {split!r} has {count}: ask for {count} or fewer in all"
            )
        fewest = int(np.sort(np.bincount(pool.shard_of)[pool.shards])[: pool.window].sum())
        if ways > fewest:
            raise InputError(
                f"{ways} ways were asked, but a window of {pool.window} shards may hold only {fewest} classes:"
                " let the cache hold more shards (cache_shards)"
            )

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        rng, classes = key.rng(), self.classes(key)
        records = rng.choice(classes, ways, replace=False).tolist()
        images = []
        for record in records:
            try:
                images.append(self.shards.images(record, rng.permutation(self.shards.count(record))[: shots + queries]))
            except DamageError:
                if self.shards.on_error == "raise":
                    raise
                self.shards.forget(record)
                records.append(self._another(rng, classes, records))  # the loop comes to it
        support, query = _examples([x[:shots] for x in images]), _examples([x[shots:] for x in images])
        order = torch.from_numpy(
            rng.permutation(ways * shots)
        )  # what reads a support set in sequence sees no pattern in it
        return Episode(Examples(support.x[:, order], support.y[:, order]), query)

    def draw_flat(self, key: Key, n: int) -> Episode:
        """Images from passes over the split, each image once a pass (see `datamodules.sampling.flat`)."""
        if key.split not in self._passes:
            pool = self._pool(key.split)
            label_of = {record: label for label, record in enumerate(self.shards.index.split(key.split))}
            labels = np.array([label_of[record] for record in pool.records.tolist()], int)
            window = self.shards.cache.shards if self.shards.cache else len(pool.shards)
            self._passes[key.split] = Passes(self.shards, pool.records, labels, pool.shard_of, window)
        images, labels = self._passes[key.split].read(key, n)
        return flat_batch(Examples(_tensor(images), torch.from_numpy(labels).unsqueeze(0)))

    def classes(self, key: Key) -> NDArray[np.integer]:
        """Numbers of the records that an episode may draw from."""
        pool = self._pool(key.split)
        if pool.window == len(pool.shards):
            return pool.records
        place = key._replace(index=key.index // self.window_episodes)
        if self._window is None or self._window[0] != place:
            order = key._replace(index=0).rng("window").permutation(pool.shards)
            shown = order[(place.index + np.arange(pool.window)) % len(order)]
            self._window = place, pool.records[np.isin(pool.shard_of, shown)]
        return self._window[1]

    def trained_on(self, split: str) -> torch.Tensor:
        if split not in self._trained:
            self._trained[split] = class_names.trained_on(self.shards.index, split)
        return self._trained[split]

    def met(self, split: str, trained: torch.Tensor) -> int:
        return class_names.met(self.shards.index, split, trained)

    def check_checkpoint(self, path: str, checkpoint: dict[str, Any]) -> None:
        if trained := images_of(path, checkpoint):
            check_shape(path, trained, self.shards)

    def report(self) -> str | None:
        return self.shards.report()

    def _another(self, rng: np.random.Generator, classes: NDArray[np.integer], tried: list[int]) -> int:
        """A class in place of a damaged one."""
        left = np.setdiff1d(classes, tried)
        if not len(left):
            raise InputError(
                f"too many classes of {self.shards.root} are damaged to fill an episode: write the shards again"
            )
        return int(rng.choice(left))

    def _pool(self, split: str) -> "_Pool":
        if split not in self._pools:
            records = np.array([record for record in self.shards.index.split(split) if not self._damaged[record]], int)
            shard_of = np.array([self.shards.index.records[record].shard for record in records], int)
            shards = np.unique(shard_of)
            cache = self.shards.cache
            window = cache.window if cache and len(shards) > cache.shards else len(shards)
            self._pools[split] = _Pool(records, shard_of, shards, window)
        return self._pools[split]


class _Pool(NamedTuple):
    """What a split draws from: its records but those found damaged at opening, the shard of each, the numbers of all
    these shards, and how many of them are in use at a time."""

    records: NDArray[np.integer]
    shard_of: NDArray[np.integer]
    shards: NDArray[np.integer]
    window: int


def _examples(classes: list[Images]) -> Examples:
    """One task's examples, class by class: x float in 0..1."""
    y = torch.arange(len(classes)).repeat_interleave(len(classes[0]))
    return Examples(_tensor(np.concatenate(classes)), y.unsqueeze(0))


def _tensor(images: Images) -> torch.Tensor:
    """Images as float in 0..1, features as they are, with a tasks axis of 1."""
    x = torch.from_numpy(images).unsqueeze(0)
    return x if x.is_floating_point() else x.float().div_(255)


class ImageEpisodes(EpisodeData):
    """Few-shot episodes from the shard set below `root` (a folder or URL; see `lightning-meta shards write`).

    Args:
        root: folder or fsspec URL of the shards.
        ways: classes of a training episode, a number or a range [first, last].
        shots: support examples of each class, a number or a range.
        queries: query examples of each class, a number or a range.
        eval_ways: classes of a validation or test episode; by default as in training.
        eval_shots: support examples of each class in validation and test; by default as in training.
        eval_queries: query examples of each class in validation and test; by default as in training.
        meta_batch: tasks in a meta-batch, over all devices.
        epoch_batches: meta-batches of an epoch.
        val_episodes: episodes of one validation.
        test_episodes: episodes of the test.
        splits: names of the meta-train, meta-validation and meta-test splits.
        seed: names the sequence of episodes, the frozen ones too.
        on_error: damaged records end the run (`raise`), or are passed over and counted (`skip`).
        cache_shards: how many remote shards are kept on this machine. Where a split has more, its episodes come from a
            moving window of one fewer.
        window_episodes: episodes after which that window moves on by one shard.
        num_workers: loader processes.
        val_shots: validate at each of these numbers of shots, `val_episodes` each, and score by their mean.
        flat_batch: for pretraining: training reads flat batches of so many images of all classes in the place of
            episodes, `meta_batch` of them a step, in passes over the split.
    """

    def __init__(
        self,
        root: str,
        ways: Range = 5,
        shots: Range = 1,
        queries: Range = 15,
        eval_ways: Range | None = None,
        eval_shots: Range | None = None,
        eval_queries: Range | None = None,
        meta_batch: int = 4,
        epoch_batches: int = 500,
        val_episodes: int = 600,
        test_episodes: int = 600,
        splits: tuple[str, str, str] = ("train", "val", "test"),
        seed: int = 0,
        on_error: OnError = "raise",
        cache_shards: int = 64,
        window_episodes: int = 200,
        num_workers: int = 0,
        flat_batch: int = 0,
        val_shots: Sequence[int] | None = None,
    ):
        train = EpisodeSize(ways, shots, queries)
        evaluation = train.replaced(eval_ways, eval_shots, eval_queries)
        super().__init__(
            train,
            evaluation,
            splits,
            meta_batch,
            epoch_batches,
            val_episodes,
            test_episodes,
            seed,
            num_workers,
            flat_batch,
            val_shots,
        )
        self.root = root
        self.on_error: OnError = on_error
        self.cache, self.window_episodes = ShardCache(cache_shards), window_episodes

    @property
    def outputs(self) -> int:
        """The largest number of ways in training."""
        return self.sizes["train"].largest()[0]

    @property
    def classes(self) -> int:
        assert isinstance(self.tasks, ImageTasks)
        return len(self.tasks.shards.index.split(self.splits["train"]))

    @property
    def trains_on_validation(self) -> bool:
        assert isinstance(self.tasks, ImageTasks)
        train, val = (set(self.tasks.shards.index.split(self.splits[stage])) for stage in ("train", "val"))
        return bool(train & val)

    def open(self) -> ImageTasks:
        return ImageTasks(ShardSet(self.root, self.on_error, self.cache), self.window_episodes)

    def state_dict(self) -> dict[str, object]:
        """How the images that a checkpoint was trained on were made, so that it reads a user's images alike, or what made
        the features; and the classes that it was trained on, so that a test can tell whether it has others."""
        assert isinstance(self.tasks, ImageTasks)
        index = self.tasks.shards.index
        made = {"features": index.features._asdict()} if index.features else {"preprocess": index.preprocess._asdict()}
        return {**made, "classes": self.tasks.trained_on(self.splits["train"])}
