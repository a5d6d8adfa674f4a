"""Ordinary, non-episodic reading of a shard set: passes over all images of a split, for pretraining."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from datamodules.augmentation.new_classes import Versions
from datamodules.reading.damage import DamageError
from datamodules.reading.joined_set import JoinedSet
from datamodules.reading.shard_set import Images, ShardSet, Wanted
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import InputError


class Passes:
    """Passes over the images of some records, each image once per pass, in an order drawn anew for each pass.

    Args:
        shards: Shard set, or several joined, that holds the records.
        records: Numbers of the records to read.
        labels: Class number of each record.
        versions: The records, and the classes made of them, by their numbers; by default there are none of these.
    """

    def __init__(
        self,
        shards: ShardSet | JoinedSet,
        records: NDArray[np.integer],
        labels: NDArray[np.integer],
        versions: Versions | None = None,
    ):
        self.versions = versions or Versions(len(shards.damaged), None)
        of_set = self.versions.records(records)
        counts = shards.index.counts(of_set)
        if not counts.sum():
            raise InputError(
                f"{shards.root} has no images to read: all its classes are damaged, or it has none of this split"
            )
        self.shards = shards
        self.class_of = np.repeat(np.arange(len(records)), counts)  # by image, in the order of the records
        self.number = np.arange(len(self.class_of)) - np.repeat(counts.cumsum() - counts, counts)  # within its class
        self.records, self.labels, self.shard_of = records, labels, shards.index.sources_of(of_set)
        self._orders: dict[Key, NDArray[np.integer]] = {}  # of two passes: one thread may read ahead of the other

    def read(self, key: Key, n: int) -> tuple[Images, NDArray[np.integer]]:
        """The n images of flat batch number `key.index` of an epoch, and their class numbers [n]."""
        places = range(key.index * n, (key.index + 1) * n)
        self.shards.prefetch(self.wanted(key, n))
        images, labels = zip(*(self._whole(key, place) for place in places), strict=True)
        return np.concatenate(images), np.array(labels)

    def wanted(self, key: Key, n: int) -> Iterator[Wanted]:
        """Yield the images of a flat batch before any is read."""
        for place in range(key.index * n, (key.index + 1) * n):
            image = self._at(key, place)
            number = int(self.records[self.class_of[image]])
            yield self.versions.record(number), self.number[image : image + 1]

    def _whole(self, key: Key, place: int) -> tuple[Images, int]:
        """The image at a place of the epoch, or in place of a damaged one (on_error: skip) the next whole one of the pass."""
        for at in range(place, place + len(self.class_of)):
            image = self._at(key, at)
            owner = self.class_of[image]
            number = int(self.records[owner])
            record = self.versions.record(number)
            try:
                images = self.shards.images(record, self.number[image : image + 1])
                self.versions.change(number, [images])
                return images, int(self.labels[owner])
            except DamageError:
                if self.shards.on_error == "raise":
                    raise
                self.shards.forget(record)
        raise InputError(f"no image of {self.shards.root} is whole: write the shards again")

    def _at(self, key: Key, place: int) -> int:
        """The number of the image at a place of the epoch."""
        number, within = divmod(place, len(self.class_of))
        this = key._replace(index=number)
        order = self._orders.get(this)
        if order is None:
            order = self.order(this)
            self._orders = {**dict(list(self._orders.items())[-1:]), this: order}
        return int(order[within])

    def order(self, key: Key) -> NDArray[np.integer]:
        """The images of pass number `key.index` of an epoch, in their order."""
        rng = key.rng("flat")
        shards = rng.permutation(np.unique(self.shard_of))
        block_of_shard = np.zeros(int(shards.max()) + 1, int)
        block_of_shard[shards] = np.arange(len(shards)) // self._mixed(len(shards))
        block = block_of_shard[self.shard_of][self.class_of]
        order = rng.permutation(len(block))
        return order[np.argsort(block[order], kind="stable")]

    def _mixed(self, shards: int) -> int:
        """Return the number of shards whose images are mixed at a time: all, or as many as the cache of a remote set holds."""
        cache, size = self.shards.cache, self.shards.index.source_bytes
        return shards if cache is None or size <= cache.bytes else max(1, shards * cache.bytes // size)
