"""The global sequence of episodes, a pure function of (seed, epoch, index), and who reads what of it."""

import os
import traceback
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import split_by_worker

from lightning_meta.core import Episode, Examples, InputError

Range = int | tuple[int, int]  # a number, or the first and last of a range to draw from, both included


class Key(NamedTuple):
    """What an episode is a pure function of. `index` counts episodes from 0 within an epoch."""

    seed: int
    split: str
    epoch: int
    index: int  # type: ignore[assignment]  # a tuple's method of this name is not wanted

    def rng(self, purpose: str = "") -> np.random.Generator:
        """A generator of its own for every key and purpose."""
        return np.random.default_rng(
            [self.seed, zlib.crc32(f"{self.split}/{purpose}".encode()), self.epoch, self.index]
        )


class EpisodeSize(NamedTuple):
    """Ways, shots and queries (per class) of an episode. Ranges are drawn once a meta-batch, which is one tensor."""

    ways: Range
    shots: Range
    queries: Range

    def check(self) -> None:
        for name, value in self._asdict().items():
            low, high = (value, value) if isinstance(value, int) else value
            if not 1 <= low <= high:
                raise InputError(f"{name} is {value}: give a number of 1 or more, or [first, last] with first <= last")

    def replaced(self, ways: Range | None, shots: Range | None, queries: Range | None) -> "EpisodeSize":
        """This size but for what is given."""
        given = {"ways": ways, "shots": shots, "queries": queries}
        return self._replace(**{name: value for name, value in given.items() if value is not None})

    def smallest(self) -> tuple[int, int, int]:
        ways, shots, queries = (value if isinstance(value, int) else value[0] for value in self)
        return ways, shots, queries

    def largest(self) -> tuple[int, int, int]:
        ways, shots, queries = (value if isinstance(value, int) else value[1] for value in self)
        return ways, shots, queries

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        ways, shots, queries = (v if isinstance(v, int) else int(rng.integers(v[0], v[1] + 1)) for v in self)
        return ways, shots, queries


class Tasks(ABC):
    """p(T): a distribution of tasks, by split. To add one, write `draw`; for pretraining on it, `draw_flat` as well."""

    @abstractmethod
    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        """The one task that `key` names, as an Episode with a tasks axis of 1."""

    def draw_flat(self, key: Key, n: int) -> Examples:  # noqa: ARG002  its default refuses
        """Flat batch number `key.index` of the epoch: n examples of any task, labels over all classes of the split, with
        a tasks axis of 1."""
        raise InputError(f"{type(self).__name__} has no flat batches: set data.flat_batch to 0")

    def check(self, split: str, size: EpisodeSize) -> None:
        """Raise InputError where this split cannot give such episodes."""

    def report(self) -> str | None:
        """What was skipped while reading, if anything."""
        return None


class EpisodeStream(IterableDataset[Episode | Examples]):
    """Meta-batches of one epoch of `split`, from meta-batch number `start` on.

    With `flat` > 0 the place of each episode is taken by a flat batch of as many examples (`Tasks.draw_flat`): a row
    along the tasks axis, so that what holds for episodes holds for them.

    Every rank takes its equal, contiguous share of each meta-batch, and every loader worker every k-th meta-batch, so
    the loader yields the same global sequence in the same order for any number of either.

    Raises InputError where `episodes` or `meta_batch` does not divide evenly among `world` ranks, or where several
    processes run (WORLD_SIZE) and nobody said which share is whose.
    """

    def __init__(
        self,
        tasks: Tasks,
        split: str,
        size: EpisodeSize,
        episodes: int,
        meta_batch: int = 1,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        flat: int = 0,
    ):
        if rank is None or world is None:
            if int(os.environ.get("WORLD_SIZE", 1)) > 1:
                raise InputError(
                    "several processes would read the same episodes: give EpisodeStream its rank and world"
                )
            rank, world = 0, 1
        for name, value in {"meta_batch": meta_batch, "episodes": episodes}.items():
            if value < 1 or value % world:
                raise InputError(
                    f"{name} is {value}, which {world} processes cannot share evenly: make it a multiple of {world}"
                )
        if seed < 0:
            raise InputError(f"seed is {seed}: give 0 or more")
        if flat < 0:
            raise InputError(f"flat_batch is {flat}: give the examples of a flat batch, or 0 for episodes")
        if not flat:
            size.check()
            tasks.check(split, size)
        self.tasks, self.split, self.size, self.seed, self.flat = tasks, split, size, seed, flat
        self.episodes, self.meta_batch, self.rank, self.world = episodes, meta_batch, rank, world
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return -(-self.episodes // self.meta_batch)

    def __iter__(self) -> Iterator[Episode | Examples]:
        pipeline = DataPipeline(partial(iter, range(self.start, len(self))), split_by_worker, partial(map, self.read))
        return iter(pipeline)

    def read(self, number: int) -> Episode | Examples:
        """This rank's share of meta-batch `number`."""
        first = number * self.meta_batch
        share = my_share(range(first, min(first + self.meta_batch, self.episodes)), self.rank, self.world)
        keys = [Key(self.seed, self.split, self.epoch, index) for index in share]
        if self.flat:
            return join([self.tasks.draw_flat(key, self.flat) for key in keys])
        ways, shots, queries = self.size.draw(Key(self.seed, self.split, self.epoch, number).rng("size"))
        return collate([self.tasks.draw(key, ways, shots, queries) for key in keys])


def my_share(indices: range, rank: int, world: int) -> range:
    """The part of a meta-batch's episodes that `rank` of `world` reads: equal, contiguous, together the whole."""
    size = len(indices) // world
    return indices[rank * size : (rank + 1) * size]


def collate(episodes: list[Episode]) -> Episode:
    """Join along the tasks axis."""
    support, query = zip(*episodes, strict=True)
    return Episode(join(support), join(query))


def join(examples: Sequence[Examples]) -> Examples:
    """Join along the tasks axis."""
    return Examples(torch.cat([e.x for e in examples]), torch.cat([e.y for e in examples]))


class EpisodeLoader(DataLoader[Episode | Examples]):
    """A loader whose every pass is an epoch: the next one, or the one that `epoch` tells when the pass begins.

    Its state is where it stands: epoch and meta-batch. Lightning saves that in a checkpoint; a loader that was given a
    state goes on with the very next meta-batch.
    """

    def __init__(self, stream: EpisodeStream, num_workers: int = 0, epoch: Callable[[], int] | None = None):
        super().__init__(stream, batch_size=None, num_workers=num_workers, pin_memory=torch.cuda.is_available())
        self.stream, self.tell_epoch = stream, epoch or (lambda: self.epoch + 1)
        self.epoch, self.position, self._resumed = -1, 0, False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator, where DataLoader has its own iterator type
        if not self._resumed or self.epoch < 0 or self.position >= len(self.stream):
            self.epoch, self.position = self.tell_epoch(), 0
        self._resumed = False
        self.stream.epoch, self.stream.start = self.epoch, self.position
        try:
            for batch in super().__iter__():
                self.position += 1
                yield batch
        except InputError as error:  # a worker's comes with its traceback before the message
            traceback.clear_frames(error.__traceback__)  # they hold the workers, each then waited for, 5 seconds long
            raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position, self._resumed = state["epoch"], state["position"], True
