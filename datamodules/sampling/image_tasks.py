"""Few-shot image classification from a shard set: draw classes, then images of each."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.index import class_names
from datamodules.index.trained_on import check_shape, images_of
from datamodules.reading.damage import DamageError
from datamodules.reading.shard_set import Images, ShardSet
from datamodules.sampling.episodes import EpisodeSize, Tasks
from datamodules.sampling.flat import Passes
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import Episode, Examples, InputError, flat_batch


class ImageTasks(Tasks):
    """Tasks of `ways` classes of a split, with `shots + queries` images of each, all uniform without replacement.

    Support examples come in random order, queries class by class.

    If the split has more shards than the cache of a remote set holds, the classes come from a window of one shard fewer
    than that, in an order drawn anew each epoch; the window moves on by one shard every `window_episodes` episodes. An
    epoch of `window_episodes` times the number of the split's shards gives every class the same chance.

    Args:
        shards: The shard set to draw from.
        window_episodes: Episodes after which the window moves on by one shard.
    """

    def __init__(self, shards: ShardSet, window_episodes: int = 200):
        self.shards, self.window_episodes = shards, window_episodes
        # Damage that is detected later must not change the sequence, so this is a copy.
        self._damaged = shards.damaged.numpy().copy()
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
                f"{shots} shots and {queries} queries need {needed} images per class, but class"
                f" {self.shards.index.records[smallest].name!r} of split {split!r} has {count}: ask for {count} or fewer in all"
            )
        fewest = int(np.sort(np.bincount(pool.shard_of)[pool.shards])[: pool.window].sum())
        if ways > fewest:
            raise InputError(
                f"{ways} ways were asked, but a window of {pool.window} shards may hold only {fewest} classes:"
                " let the cache hold more shards (cache_shards)"
            )

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        images, rng = self._read(key, ways, shots + queries)
        support = _examples([x[:shots] for x in images.values()])
        query = _examples([x[shots:] for x in images.values()])
        # A learner that reads the support set in sequence must not see a pattern in its order.
        order = torch.from_numpy(rng.permutation(ways * shots))
        return Episode(Examples(support.x[:, order], support.y[:, order]), query)

    def class_names(self, key: Key, ways: int, shots: int, queries: int) -> list[str]:
        return [self.shards.index.records[record].name for record in self._read(key, ways, shots + queries)[0]]

    def _read(self, key: Key, ways: int, n: int) -> tuple[dict[int, Images], np.random.Generator]:
        """Draw the classes of a task and n images of each: the images by record number, and the generator after that."""
        rng, classes = key.rng(), self.classes(key)
        records: list[int] = rng.choice(classes, ways, replace=False).tolist()
        images: dict[int, Images] = {}
        for record in records:
            try:
                images[record] = self.shards.images(record, rng.permutation(self.shards.count(record))[:n])
            except DamageError:
                if self.shards.on_error == "raise":
                    raise
                self.shards.forget(record)
                records.append(self._another(rng, classes, records))  # this loop reaches it
        return images, rng

    def draw_flat(self, key: Key, n: int) -> Episode:
        """Draw images from passes over the split, each image once per pass (see `datamodules.sampling.flat`)."""
        if key.split not in self._passes:
            pool = self._pool(key.split)
            label_of = {record: label for label, record in enumerate(self.shards.index.split(key.split))}
            labels = np.array([label_of[record] for record in pool.records.tolist()], int)
            window = self.shards.cache.shards if self.shards.cache else len(pool.shards)
            self._passes[key.split] = Passes(self.shards, pool.records, labels, pool.shard_of, window)
        images, labels = self._passes[key.split].read(key, n)
        return flat_batch(Examples(_tensor(images), torch.from_numpy(labels).unsqueeze(0)))

    def classes(self, key: Key) -> NDArray[np.integer]:
        """Return the numbers of the records that an episode may draw from."""
        pool = self._pool(key.split)
        if pool.window == len(pool.shards):
            return pool.records
        place = key._replace(index=key.index // self.window_episodes)
        if self._window is None or self._window[0] != place:
            order = key._replace(index=0).rng("window").permutation(pool.shards)
            in_window = order[(place.index + np.arange(pool.window)) % len(order)]
            self._window = place, pool.records[np.isin(pool.shard_of, in_window)]
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
        """Draw a class in place of a damaged one."""
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
    """The records that a split draws from, without those known as damaged when the set was opened.

    records: record numbers.  shard_of: the shard of each record.  shards: the numbers of all these shards.
    window: number of shards in use at a time.
    """

    records: NDArray[np.integer]
    shard_of: NDArray[np.integer]
    shards: NDArray[np.integer]
    window: int


def _examples(classes: list[Images]) -> Examples:
    """Return the examples of one task, class by class, with x float in 0..1."""
    y = torch.arange(len(classes)).repeat_interleave(len(classes[0]))
    return Examples(_tensor(np.concatenate(classes)), y.unsqueeze(0))


def _tensor(images: Images) -> torch.Tensor:
    """Return images as float in 0..1, or features unchanged, with a tasks axis of 1."""
    x = torch.from_numpy(images).unsqueeze(0)
    return x if x.is_floating_point() else x.float().div_(255)
