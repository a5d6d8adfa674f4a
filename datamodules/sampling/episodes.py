"""Episodes: their size, the tasks that they are drawn from, and their meta-batches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from datamodules.sampling.meta_batches import Key, MetaBatches
from lightning_meta.core import Episode, Examples, InputError

Range = int | tuple[int, int]  # a number, or the first and last of a range to draw from, both included


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

    def draw_flat(self, key: Key, n: int) -> Episode:  # noqa: ARG002  its default refuses
        """Flat batch number `key.index` of the epoch: an episode without support, whose n queries are of any task and
        labelled over all classes of the split, with a tasks axis of 1."""
        raise InputError(f"{type(self).__name__} has no flat batches: set data.flat_batch to 0")

    def check(self, split: str, size: EpisodeSize) -> None:
        """Raise InputError where this split cannot give such episodes."""

    def trained_on(self, split: str) -> torch.Tensor | None:  # noqa: ARG002  its default knows none
        """Fingerprints, int64 [n], of the classes that training on a split meets; None where tasks have no lasting ones."""
        return None

    def met(self, split: str, trained: torch.Tensor) -> int:  # noqa: ARG002  its default knows none
        """How many classes of a split are among those of such fingerprints."""
        return 0

    def check_checkpoint(self, path: str, checkpoint: dict[str, Any]) -> None:
        """Raise InputError where a checkpoint was trained on examples that are not like these."""

    def report(self) -> str | None:
        """What was skipped while reading, if anything."""
        return None


class EpisodeStream(MetaBatches[Episode]):
    """Meta-batches of `episodes` of some size.

    With `flat` > 0 the place of each episode is taken by a flat batch of as many examples (`Tasks.draw_flat`): a row
    along the tasks axis, so that what holds for episodes holds for them.
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
        super().__init__(split, episodes, meta_batch, seed, rank, world)
        if flat < 0:
            raise InputError(f"flat_batch is {flat}: give the examples of a flat batch, or 0 for episodes")
        if not flat:
            size.check()
            tasks.check(split, size)
        self.tasks, self.size, self.flat = tasks, size, flat

    def draw(self, number: int, indices: range) -> Episode:
        keys = [Key(self.seed, self.split, self.epoch, index) for index in indices]
        if self.flat:
            return collate([self.tasks.draw_flat(key, self.flat) for key in keys])
        ways, shots, queries = self.size.draw(Key(self.seed, self.split, self.epoch, number).rng("size"))
        return collate([self.tasks.draw(key, ways, shots, queries) for key in keys])


def collate(episodes: list[Episode]) -> Episode:
    """Join along the tasks axis."""
    support, query = zip(*episodes, strict=True)
    return Episode(join(support), join(query))


def join(examples: Sequence[Examples]) -> Examples:
    """Join along the tasks axis."""
    return Examples(torch.cat([e.x for e in examples]), torch.cat([e.y for e in examples]))
