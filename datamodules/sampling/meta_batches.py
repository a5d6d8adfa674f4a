"""The global sequence of meta-batches, a pure function of (seed, epoch, index), and who reads what of it."""

import os
import signal
import traceback
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import split_by_worker

from lightning_meta.core import InputError
from lightning_meta.core.signals import BY_SCHEDULER, BY_USER

Batch = TypeVar("Batch")


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


class MetaBatches(IterableDataset[Batch], ABC, Generic[Batch]):
    """Meta-batches of one epoch of `split`, `episodes` tasks in all, from meta-batch number `start` on.

    Every rank takes its equal, contiguous share of each meta-batch, and every loader worker every k-th meta-batch, so
    the loader yields the same global sequence in the same order for any number of either.

    Raises InputError where `episodes` or `meta_batch` does not divide evenly among `world` ranks, or where several
    processes run (WORLD_SIZE) and nobody said which share is whose.
    """

    def __init__(
        self,
        split: str,
        episodes: int,
        meta_batch: int = 1,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
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
        if seed < 0:
            raise InputError(f"seed is {seed}: give 0 or more")
        self.split, self.seed, self.episodes, self.meta_batch = split, seed, episodes, meta_batch
        self.rank, self.world = rank, world
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return -(-self.episodes // self.meta_batch)

    def __iter__(self) -> Iterator[Batch]:
        pipeline = DataPipeline(partial(iter, range(self.start, len(self))), split_by_worker, partial(map, self.read))
        return iter(pipeline)

    def read(self, number: int) -> Batch:
        """This rank's share of meta-batch `number`."""
        first = number * self.meta_batch
        share = my_share(range(first, min(first + self.meta_batch, self.episodes)), self.rank, self.world)
        return self.draw(number, share)

    @abstractmethod
    def draw(self, number: int, indices: range) -> Batch:
        """The tasks of these indices, which are of meta-batch `number`."""


def my_share(indices: range, rank: int, world: int) -> range:
    """The part of a meta-batch's episodes that `rank` of `world` reads: equal, contiguous, together the whole."""
    size = len(indices) // world
    return indices[rank * size : (rank + 1) * size]


def begin_worker(parent: int, worker: int) -> None:  # noqa: ARG001  DataLoader's signature
    """End a worker whose process was killed while it started: torch's own watch begins later, and then waits for ever.

    Signals that tell a run to stop are its process's to answer, which needs the batches of the step it is in.
    """
    if os.getppid() != parent:
        os._exit(1)
    for sign in {*BY_USER, *BY_SCHEDULER}:
        signal.signal(sign, signal.SIG_IGN)


class MetaLoader(DataLoader[Batch]):
    """A loader whose every pass is an epoch: the next one, or the one that `epoch` tells when the pass begins.

    Its state is where it stands: epoch and meta-batch. Lightning saves that in a checkpoint; a loader that was given a
    state goes on with the very next meta-batch.
    """

    def __init__(self, stream: MetaBatches[Batch], num_workers: int = 0, epoch: Callable[[], int] | None = None):
        super().__init__(
            stream,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=partial(begin_worker, os.getpid()),
        )
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
            raise InputError(str(error).rpartition(f"{type(error).__name__}: ")[2].strip()) from error

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position, self._resumed = state["epoch"], state["position"], True
