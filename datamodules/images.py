"""Few-shot image classification from a shard set: draw classes, then images of each."""

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.cache import ShardCache
from datamodules.episodes import EpisodeData
from datamodules.shards import OnError, ShardSet
from datamodules.stream import EpisodeSize, Key, Range, Tasks
from lightning_meta.core import Episode, Examples, InputError


class ImageTasks(Tasks):
    """A task is `ways` classes of a split, uniformly without replacement, and of each `shots + queries` images likewise.

    Where the split has more shards than the cache of a remote set holds, the classes come from a window of as many
    shards; every `window_episodes` episodes it moves on by one shard, in an order drawn anew each epoch.
    """

    def __init__(self, shards: ShardSet, window_episodes: int = 1000):
        self.shards, self.window_episodes = shards, window_episodes
        self._damaged = shards.damaged.tolist()  # as found at opening: what is found later must not change the sequence
        self._classes: dict[tuple[int, str, int, int], NDArray[np.integer]] = {}

    def check(self, split: str, size: EpisodeSize) -> None:
        largest = size.largest()
        classes = self._usable(split)
        if largest.ways > len(classes):
            raise InputError(
                f"{largest.ways} ways were asked of split {split!r} of {self.shards.root}, which has {len(classes)} classes:"
                f" ask for {len(classes)} ways or fewer"
            )
        needed = largest.shots + largest.queries
        smallest = min(classes, key=self.shards.count)
        if needed > (count := self.shards.count(smallest)):
            raise InputError(
                f"{largest.shots} shots and {largest.queries} queries were asked, {needed} images a class, but class"
                f" {self.shards.index.records[smallest].name!r} of split {split!r} has {count}: ask for {count} or fewer in all"
            )
        per_shard = Counter(self.shards.index.records[record].shard for record in classes)
        fewest = sum(sorted(per_shard.values())[: self._window(split) or len(per_shard)])
        if largest.ways > fewest:
            raise InputError(
                f"{largest.ways} ways were asked, but a window of {self._window(split)} shards may hold only {fewest}"
                " classes: let the cache hold more shards (cache_shards)"
            )

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        rng, classes = key.rng(), self.classes(key)
        support, query = [], []
        for record in rng.choice(classes, ways, replace=False):
            images = self._images(int(record), classes, rng, shots + queries)
            support.append(images[:shots])
            query.append(images[shots:])
        return Episode(_examples(support), _examples(query))

    def classes(self, key: Key) -> NDArray[np.integer]:
        """Numbers of the records that an episode may draw from."""
        window = self._window(key.split)
        position = key.index // self.window_episodes if window else 0
        place = (key.seed, key.split, key.epoch if window else 0, position)
        if place not in self._classes:
            records = self._usable(key.split)
            if window:
                order = key._replace(index=0).rng("window").permutation(self._shard_numbers(key.split))
                shown = order[(position + np.arange(window)) % len(order)]
                records = [record for record in records if self.shards.index.records[record].shard in shown]
            self._classes = {place: np.asarray(records)}
        return self._classes[place]

    def report(self) -> str | None:
        return self.shards.report()

    def _images(self, record: int, classes: NDArray[np.integer], rng: np.random.Generator, n: int) -> NDArray[np.uint8]:
        """`n` different images of a class; of another one, drawn from the same generator, where it is damaged."""
        for _ in range(100):
            try:
                return self.shards.images(record, rng.permutation(self.shards.count(record))[:n])
            except InputError:
                if self.shards.on_error == "raise":
                    raise
                self.shards.forget(record)
                record = int(rng.choice(classes))
        raise InputError(f"100 damaged classes in a row in {self.shards.root}: write the shards again")

    def _usable(self, split: str) -> list[int]:
        """Records of a split but those found damaged when the set was opened."""
        return [record for record in self.shards.index.split(split) if not self._damaged[record]]

    def _shard_numbers(self, split: str) -> list[int]:
        return sorted({self.shards.index.records[record].shard for record in self._usable(split)})

    def _window(self, split: str) -> int:
        """Shards in the moving window; 0 where all fit at once."""
        cache = self.shards.cache
        return cache.shards if cache and cache.shards < len(self._shard_numbers(split)) else 0


def _examples(classes: list[NDArray[np.uint8]]) -> Examples:
    """One task's examples, class by class: x float in 0..1."""
    y = torch.arange(len(classes)).repeat_interleave(len(classes[0]))
    return Examples(torch.from_numpy(np.concatenate(classes)).unsqueeze(0).float() / 255, y.unsqueeze(0))


class ImageEpisodes(EpisodeData):
    """Few-shot episodes from the shard set below `root` (a folder or URL; see `lightning-meta shards write`).

    Args:
        root: folder or fsspec URL of the shards.
        ways: classes of a training episode, a number or a range [first, last].
        shots: support examples a class; `queries`, query examples a class; numbers or ranges.
        eval_ways: the same for validation and test, with `eval_shots` and `eval_queries`; by default as in training.
        meta_batch: tasks in a meta-batch, over all devices.
        epoch_batches: meta-batches of an epoch.
        val_episodes: episodes of one validation; `test_episodes`, of the test.
        splits: names of the meta-train, meta-validation and meta-test splits.
        seed: names the sequence of episodes, the frozen ones too.
        on_error: damaged records end the run (`raise`), or are passed over and counted (`skip`).
        cache_shards: how many remote shards are kept on this machine.
        num_workers: loader processes.
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
        num_workers: int = 0,
    ):
        train = EpisodeSize(ways, shots, queries)
        evaluation = EpisodeSize(eval_ways or ways, eval_shots or shots, eval_queries or queries)
        super().__init__(
            train, evaluation, splits, meta_batch, epoch_batches, val_episodes, test_episodes, seed, num_workers
        )
        self.root, self.on_error, self.cache_shards = root, on_error, cache_shards

    @property
    def outputs(self) -> int:
        """Logits of a learner with a head of fixed width: the largest number of ways in training."""
        return self.sizes["train"].largest().ways

    def open(self) -> ImageTasks:
        return ImageTasks(ShardSet(self.root, self.on_error, ShardCache(self.cache_shards)))

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint needs to read a user's images as those it was trained on (`lightning-meta adapt`)."""
        assert isinstance(self.tasks, ImageTasks)
        return {"preprocess": self.tasks.shards.index.preprocess._asdict()}
