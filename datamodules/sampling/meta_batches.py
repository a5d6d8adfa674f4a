"""The global sequence of meta-batches, a pure function of (seed, epoch, index), and the share that each process reads."""

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from torch.utils.data import IterableDataset
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import split_by_worker

from datamodules.sampling.look_ahead import Fetch, fetched_ahead
from lightning_meta.core import InputError

Batch = TypeVar("Batch")


class Key(NamedTuple):
    """The name of an episode: it is a pure function of these values. `index` counts episodes from 0 within an epoch."""

    seed: int
    split: str
    epoch: int
    index: int  # type: ignore[assignment]  # hides a tuple's method of this name, which is not needed

    def rng(self, purpose: str = "") -> np.random.Generator:
        """Return a random generator of its own for this key and purpose."""
        return np.random.default_rng(
            [self.seed, zlib.crc32(f"{self.split}/{purpose}".encode()), self.epoch, self.index]
        )


class MetaBatches(IterableDataset[Batch], ABC, Generic[Batch]):
    """The meta-batches of one epoch of a split, from meta-batch number `start` on.

    Every rank takes its equal, contiguous share of each meta-batch, and every loader worker every k-th meta-batch, so
    the loader yields the same global sequence in the same order for any number of either.

    Args:
        split: Name of the split.
        episodes: Number of tasks in an epoch.
        meta_batch: Number of tasks in a meta-batch, over all processes.
        seed: Seed of the sequence.
        rank: Number of this process, from 0; needed if several run.
        world: Number of processes; needed if several run.
        look_ahead: Number of meta-batches after the one in use whose data each process fetches beforehand, of those that it
            reads itself; 0 for none. It has no effect on the sequence.

    Raises:
        InputError: If `episodes` or `meta_batch` does not divide evenly among `world` processes, or if several processes
            run (WORLD_SIZE) and `rank` or `world` is missing.
    """

    def __init__(
        self,
        split: str,
        episodes: int,
        meta_batch: int = 1,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        look_ahead: int = 4,
    ):
        if rank is None or world is None:
            if int(os.environ.get("WORLD_SIZE", 1)) > 1:
                raise InputError(
                    f"several processes would read the same episodes: give {type(self).__name__} its rank and world"
                )
            rank, world = 0, 1
        for name, value in {"meta_batch": meta_batch, "episodes": episodes}.items():
            if value < 1 or value % world:
                raise InputError(
                    f"{name} is {value}, which {world} processes cannot share evenly: make it a multiple of {world}"
                )
        for name, value in {"seed": seed, "look_ahead": look_ahead}.items():
            if value < 0:
                raise InputError(f"{name} is {value}: give 0 or more")
        self.split, self.seed, self.episodes, self.meta_batch = split, seed, episodes, meta_batch
        self.rank, self.world = rank, world
        self.epoch, self.start = 0, 0
        self.look_ahead = look_ahead

    def __len__(self) -> int:
        return -(-self.episodes // self.meta_batch)

    def __iter__(self) -> Iterator[Batch]:
        numbers = partial(iter, range(self.start, len(self)))
        return iter(DataPipeline(numbers, split_by_worker, self._fetched, partial(map, self.read)))

    def read(self, number: int) -> Batch:
        """Return the share of meta-batch `number` that this rank reads."""
        return self.draw(number, self.share_of(number))

    def share_of(self, number: int) -> range:
        """Return the numbers of the tasks of meta-batch `number` that this rank reads."""
        first = number * self.meta_batch
        return share_of_rank(range(first, min(first + self.meta_batch, self.episodes)), self.rank, self.world)

    def fetcher(self) -> Fetch | None:
        """Return what fetches the data of meta-batches beforehand, in another thread; None if nothing is gained by that."""
        return None

    def _fetched(self, numbers: Iterator[int]) -> Iterator[int]:
        """Return the numbers of the meta-batches to read, each fetched beforehand if that helps."""
        fetch = self.fetcher() if self.look_ahead else None
        return fetched_ahead(numbers, fetch, self.look_ahead) if fetch else numbers

    @abstractmethod
    def draw(self, number: int, indices: range) -> Batch:
        """Draw the tasks with these indices, which belong to meta-batch `number`."""


def share_of_rank(indices: range, rank: int, world: int) -> range:
    """Return the part of a meta-batch that `rank` of `world` processes reads: equal, contiguous, together the whole."""
    size = len(indices) // world
    return indices[rank * size : (rank + 1) * size]
