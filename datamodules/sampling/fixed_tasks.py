"""Fixed episodes of a shard set, as a published evaluation prescribes them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from datamodules.index import class_names
from datamodules.index.fixed_episodes import EpisodeFile, Item
from datamodules.index.trained_on import check_shape, images_of
from datamodules.reading.shard_set import ShardSet, Wanted
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.episodes import Tasks
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import Episode, Examples, InputError


class FixedTasks(Tasks):
    """The episodes of a file, in its order: episode `key.index` of every epoch and seed is the same.

    Args:
        shards: The shard set of the images.
        episodes: The episodes, which lie beside it.
    """

    def __init__(self, shards: ShardSet, episodes: EpisodeFile):
        self.shards, self.fixed = shards, episodes

    def check(self, split: str, size: EpisodeSize) -> None:
        split_, ways, shots, queries, episodes = self.fixed
        if split != split_:
            raise InputError(
                f"{self.shards.root} holds {len(episodes)} fixed episodes of split {split_!r} for `lightning-meta test`, and"
                f" none of {split!r}: train and validate on another set"
            )
        if tuple(size) != (ways, shots, queries):
            raise InputError(
                f"the fixed episodes of {self.shards.root} are {ways}-way {shots}-shot (queries per class: {queries}), not"
                f" {size.ways}-way {size.shots}-shot ({size.queries}): ask for that size, or for none"
            )

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:  # noqa: ARG002  they are as in the file
        if key.index >= len(self.fixed.episodes):
            raise InputError(
                f"{self.shards.root} holds {len(self.fixed.episodes)} fixed episodes: ask for as many or fewer"
            )
        support, query = self.fixed.episodes[key.index]
        return Episode(self._read(support), self._read(query))

    def fetcher(self) -> Callable[[Iterator[Wanted]], None] | None:
        shards = self.shards.for_fetching()
        return shards and shards.fetch

    def wanted(self, keys: Sequence[Key], ways: int, shots: int, queries: int) -> Iterator[Wanted]:  # noqa: ARG002
        for key in keys:
            for item in (
                item for part in self.fixed.episodes[key.index : key.index + 1] for items in part for item in items
            ):
                yield item.record, np.array([item.image])

    def class_names(self, key: Key, ways: int, shots: int, queries: int) -> list[str]:  # noqa: ARG002  as in the file
        record_of = {item.label: item.record for item in self.fixed.episodes[key.index].support}
        return [self.shards.index.name(record_of[label]) for label in range(ways)]

    def met(self, split: str, trained: torch.Tensor) -> int:
        return class_names.met(self.shards.index, split, trained)

    def check_checkpoint(self, path: str, checkpoint: dict[str, Any]) -> None:
        if trained := images_of(path, checkpoint):
            check_shape(path, trained, self.shards)

    def report(self) -> str | None:
        return self.shards.report()

    def _read(self, items: list[Item]) -> Examples:
        """Read the images of one task, x [1, n, channels, size, size], as bytes like those of any stream of images."""
        images = np.concatenate([self.shards.images(item.record, np.array([item.image])) for item in items])
        return Examples(torch.from_numpy(images).unsqueeze(0), torch.tensor([[item.label for item in items]]))
