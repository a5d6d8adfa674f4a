"""Few-shot image classification from a shard set: draw classes, then images of each."""

from collections.abc import Sequence
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

MANY = 1000  # images of a class, above which a whole permutation of them would take longer than reading some


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
        smallest = int(pool.records[np.argmin(self.shards.index.counts(pool.records))])
        if needed > (count := self.shards.count(smallest)):
            raise InputError(
                f"{shots} shots and {queries} queries need {needed} images per class, but class"
                f" {self.shards.index.name(smallest)!r} of split {split!r} has {count}: ask for {count} or fewer in all"
            )
        if pool.shard_of is None or not pool.window:
            return
        fewest = int(np.sort(np.bincount(pool.shard_of)[pool.shards])[: pool.window].sum())
        if ways > fewest:
            raise InputError(
                f"{ways} ways were asked, but a window of {pool.window} shards may hold only {fewest} classes:"
                " let the cache hold more shards (cache_shards)"
            )

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        return self.draw_batch([key], ways, shots, queries)

    def draw_batch(self, keys: Sequence[Key], ways: int, shots: int, queries: int) -> Episode:
        kind, shape = self.shards.kind
        support = np.empty((len(keys), ways * shots, *shape), kind)
        query = np.empty((len(keys), ways * queries, *shape), kind)
        support_y = np.empty((len(keys), ways * shots), np.int64)
        class_images = np.empty((shots + queries, *shape), kind)
        for task, key in enumerate(keys):
            plan = self.plan(key, ways, shots, queries)
            # A learner that reads the support set in sequence must not see a pattern in its order.
            place = np.argsort(plan.order).reshape(ways, shots)
            support_y[task] = plan.order // shots
            for label in range(ways):
                self._read(plan, label, class_images)
                support[task, place[label]] = class_images[:shots]
                query[task, label * queries : (label + 1) * queries] = class_images[shots:]
        query_y = torch.arange(ways).repeat_interleave(queries).expand(len(keys), -1).clone()
        return Episode(
            Examples(torch.from_numpy(support), torch.from_numpy(support_y)), Examples(torch.from_numpy(query), query_y)
        )

    def class_names(self, key: Key, ways: int, shots: int, queries: int) -> list[str]:
        plan, (kind, shape) = self.plan(key, ways, shots, queries), self.shards.kind
        class_images = np.empty((shots + queries, *shape), kind)
        for label in range(ways):
            self._read(plan, label, class_images)  # another class may come in place of a damaged one
        return [self.shards.index.name(record) for record in plan.records]

    def plan(self, key: Key, ways: int, shots: int, queries: int) -> "Plan":
        """Draw the classes of a task, the images of each, and the order of the support set."""
        rng, classes = key.rng(), self.classes(key)
        records: list[int] = rng.choice(classes, ways, replace=False).tolist()
        images = [self._some(rng, record, shots + queries) for record in records]
        return Plan(records, images, rng.permutation(ways * shots), classes, rng, [])

    def _some(self, rng: np.random.Generator, record: int, n: int) -> NDArray[np.integer]:
        """Draw n images of a class."""
        count = self.shards.count(record)
        return rng.permutation(count)[:n] if count <= MANY else rng.choice(count, n, replace=False)

    def _read(self, plan: "Plan", label: int, out: Images) -> None:
        """Read the images of a class of a task, or of another class in place of a damaged one (on_error: skip)."""
        while True:
            try:
                self.shards.images(plan.records[label], plan.images[label], out)
                return
            except DamageError:
                if self.shards.on_error == "raise":
                    raise
                self.shards.forget(plan.records[label])
                plan.tried.append(plan.records[label])
                plan.records[label] = self._another(plan.rng, plan.classes, [*plan.records, *plan.tried])
                plan.images[label] = self._some(plan.rng, plan.records[label], len(out))

    def draw_flat(self, key: Key, n: int) -> Episode:
        """Draw images from passes over the split, each image once per pass (see `datamodules.sampling.flat`)."""
        if key.split not in self._passes:
            pool = self._pool(key.split)
            labels = np.flatnonzero(~self._damaged[self.shards.index.split(key.split)])
            shard_of = self.shards.index.sources_of(pool.records)
            window = self.shards.cache.shards if self.shards.cache else len(self.shards.index.sources)
            self._passes[key.split] = Passes(self.shards, pool.records, labels, shard_of, window)
        images, labels = self._passes[key.split].read(key, n)
        return flat_batch(Examples(torch.from_numpy(images).unsqueeze(0), torch.from_numpy(labels).unsqueeze(0)))

    def classes(self, key: Key) -> NDArray[np.integer]:
        """Return the numbers of the records that an episode may draw from."""
        pool = self._pool(key.split)
        if pool.shard_of is None or not pool.window:
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
            records = self.shards.index.split(split)
            records = records[~self._damaged[records]]
            if not (cache := self.shards.cache):
                self._pools[split] = _Pool(records, None, np.zeros(0, int), 0)
            else:
                shard_of = self.shards.index.sources_of(records)
                shards = np.unique(shard_of)
                window = cache.window if len(shards) > cache.shards else 0
                self._pools[split] = _Pool(records, shard_of, shards, window)
        return self._pools[split]


class Plan(NamedTuple):
    """The contents of a task, before any image is read.

    records: the class of each label.  images: the numbers of the images of each class, those of the support set first.
    order: the example in each place of the support set, counted class by class.  classes: the classes that were drawn from.
    rng: the generator after that.  tried: classes that turned out to be damaged.
    """

    records: list[int]
    images: list[NDArray[np.integer]]
    order: NDArray[np.integer]
    classes: NDArray[np.integer]
    rng: np.random.Generator
    tried: list[int]


class _Pool(NamedTuple):
    """The classes that a split draws from, without those known as damaged when the set was opened.

    records: class numbers.  shard_of: the shard of each class, for a remote set.  shards: the numbers of all these shards.
    window: number of shards in use at a time; 0 if it is all of them.
    """

    records: NDArray[np.integer]
    shard_of: NDArray[np.integer] | None
    shards: NDArray[np.integer]
    window: int
