"""Episodes: the task distributions that they are drawn from, and their meta-batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from datamodules.augmentation.image_changes import NamedTasks
from datamodules.augmentation.new_classes import ClassAugmentation
from datamodules.sampling.composition import Composer, Composition, Sampler, SplitClasses
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.look_ahead import Fetch
from datamodules.sampling.meta_batches import Key, MetaBatches
from lightning_meta.core import Episode, InputError, MetaBatch, join_tasks
from lightning_meta.core.meta_batch import size_of


class Tasks(ABC):
    """A task distribution p(T), for each split. To add your own, write `draw`; for pretraining, `draw_flat` as well.

    Example:
        A file `my_tasks.py`, where Python finds it:

            import torch
            from datamodules import Key, Tasks
            from lightning_meta.core import Episode, Examples

            class Lines(Tasks):
                '''Straight lines through the origin, one slope per task.

                Args:
                    steepest: The largest absolute slope.
                '''

                def __init__(self, steepest: float = 2.0):
                    self.steepest = steepest

                def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
                    rng = key.rng()
                    x = torch.from_numpy(rng.uniform(-1, 1, (1, shots + queries, 1))).float()
                    y = rng.uniform(-self.steepest, self.steepest) * x
                    return Episode(Examples(x[:, :shots], y[:, :shots]), Examples(x[:, shots:], y[:, shots:]))

        and a task file `lines.yaml`:

            model: {learner: {init_args: {backbone: {class_path: lightning_meta.nn.MLP, init_args: {sizes: [1, 40, 40]}}}}}
            data: {class_path: datamodules.episodes.Episodes, init_args: {tasks: my_tasks.Lines, shots: 5}}

        train with `lightning-meta fit --config lines.yaml --config maml.yaml`.
    """

    @abstractmethod
    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        """Draw one task. The result must be a pure function of the arguments: take random numbers from `key.rng()`.

        Args:
            key: Names the task: seed, split, epoch and index.
            ways: Number of classes. Regression ignores it.
            shots: Support examples per class, or of the task in regression.
            queries: Query examples per class, or of the task in regression.

        Returns:
            An episode whose tensors lead with a tasks axis of length 1. It may be of another size than asked for: tasks of
            different sizes in a meta-batch form a list, and each weighs the same.
        """

    def draw_batch(self, keys: Sequence[Key], ways: int, shots: int, queries: int) -> MetaBatch:
        """Draw tasks as `draw` does, joined along the tasks axis; by default each by itself."""
        return join_tasks([self.draw(key, ways, shots, queries) for key in keys])

    def draw_flat(self, key: Key, n: int) -> Episode:  # noqa: ARG002  the default refuses
        """Draw flat batch number `key.index` of the epoch: examples of any task, for pretraining.

        Args:
            key: Names the batch: seed, split, epoch and index.
            n: Number of examples.

        Returns:
            An episode without support, whose n queries have a tasks axis of length 1. Their labels number all classes of
            the split.
        """
        raise InputError(f"{type(self).__name__} has no flat batches: set data.flat_batch to 0")

    def class_names(self, key: Key, ways: int, shots: int, queries: int) -> list[str] | None:  # noqa: ARG002
        """Return the names of the classes of a task that `draw` draws, by label; None if they have no names."""
        return None

    def split_classes(self, split: str) -> SplitClasses:  # noqa: ARG002  the default refuses
        """Return the classes of a split, among which a sampler chooses. Raise InputError if it cannot."""
        raise InputError(f"{type(self).__name__} has no classes that a sampler can choose from: leave the sampler out")

    def composer(self, sampler: Sampler, split: str, size: EpisodeSize) -> Composer:
        """Prepare a sampler for the classes of a split. Raise InputError if they cannot give such episodes."""
        return sampler.composer(self.split_classes(split), size)

    def draw_composed(self, keys: Sequence[Key], compositions: Sequence[Composition]) -> list[Episode]:
        """Draw tasks of these compositions of the classes of `split_classes`, each otherwise as `draw` does."""
        raise NotImplementedError(type(self).__name__)

    def composed_names(self, key: Key, composition: Composition) -> list[str] | None:
        """Return the names of the classes of a task that `draw_composed` draws, by label; None if they have no names."""
        raise NotImplementedError(type(self).__name__)

    def augmented(self, augmentation: ClassAugmentation) -> "Tasks":  # noqa: ARG002  the default refuses
        """Return the tasks of these classes and of new ones that are made of them. Raise InputError if that cannot be."""
        raise InputError(f"{type(self).__name__} has no lasting classes to make new ones of: leave augment_classes out")

    def fetcher(self) -> Callable[[Iterator[Any]], None] | None:
        """Return what fetches beforehand, in another thread, what tasks read: any of `wanted`. None if it is at hand."""
        return None

    def wanted(self, keys: Sequence[Key], ways: int, shots: int, queries: int) -> Iterator[Any]:
        """Yield what `draw_batch` will read, for `fetcher`."""
        raise NotImplementedError(type(self).__name__)

    def wanted_composed(self, keys: Sequence[Key], compositions: Sequence[Composition]) -> Iterator[Any]:
        """Yield what `draw_composed` will read, for `fetcher`."""
        raise NotImplementedError(type(self).__name__)

    def wanted_flat(self, key: Key, n: int) -> Iterator[Any]:
        """Yield what `draw_flat` will read, for `fetcher`."""
        raise NotImplementedError(type(self).__name__)

    def check(self, split: str, size: EpisodeSize) -> None:
        """Raise InputError if this split cannot give episodes of this size."""

    def trained_on(self, split: str) -> torch.Tensor | None:  # noqa: ARG002  the default has no lasting classes
        """Return fingerprints, int64 [n], of the classes of a training split; None if tasks share no lasting classes."""
        return None

    def met(self, split: str, trained: torch.Tensor) -> int:  # noqa: ARG002  the default has no lasting classes
        """Return the number of classes of a split whose fingerprints are among those of `trained`."""
        return 0

    def check_checkpoint(self, path: str, checkpoint: dict[str, Any]) -> None:
        """Raise InputError if a checkpoint was trained on examples of another kind than these."""

    def report(self) -> str | None:
        """Return a line about what was skipped while reading, or None if nothing was."""
        return None


class EpisodeStream(MetaBatches[MetaBatch | NamedTasks]):
    """Meta-batches of episodes of one task distribution and split.

    The tasks of a meta-batch form one tensor or, where the distribution draws tasks of different sizes, a list of one for
    each size (`lightning_meta.core.MetaBatch`).

    With `flat` > 0 each episode is replaced by a flat batch of `flat` examples (`Tasks.draw_flat`), a row along the tasks
    axis, so that everything said of episodes holds for flat batches.

    Args:
        tasks: The task distribution.
        split: Name of the split to draw from.
        size: Ways, shots and queries of an episode.
        episodes: Number of episodes in an epoch.
        meta_batch: Number of episodes in a meta-batch, over all processes.
        seed: Seed of the sequence.
        rank: Number of this process; needed if several run.
        world: Number of processes; needed if several run.
        flat: Number of examples in a flat batch; 0 for episodes.
        sampler: Choice of the classes of an episode and of the number of examples of each; by default that of `tasks`.
        named: Whether each meta-batch comes with a number that names each task, for augmentation.
        look_ahead: Number of meta-batches after the one in use whose data this process fetches beforehand if they are remote.

    Attributes:
        size: Ways, shots and queries that can be drawn.
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
        sampler: Sampler | None = None,
        named: bool = False,
        look_ahead: int = 4,
    ):
        super().__init__(split, episodes, meta_batch, seed, rank, world, look_ahead)
        if flat < 0:
            raise InputError(f"flat_batch is {flat}: give the number of examples in a flat batch, or 0 for episodes")
        self.composer = None
        if not flat:
            size.check()
            if sampler is None:
                tasks.check(split, size)
            else:
                self.composer = tasks.composer(sampler, split, size)
                size = self.composer.bounds()
        self.tasks, self.size, self.flat, self.sampler, self.named = tasks, size, flat, sampler, named

    def class_names(self) -> list[str] | None:
        """Return the names of the classes of the first episode of the first epoch, by label; None if there are none."""
        if self.flat:
            return None
        first = Key(self.seed, self.split, 0, 0)
        if self.composer is not None:
            return self.tasks.composed_names(first, self.composer.compose(first))
        return self.tasks.class_names(first, *self.size.draw(first.rng("size")))

    def fetcher(self) -> Fetch | None:
        fetch = self.tasks.fetcher()
        return fetch and (lambda numbers: fetch(one for number in numbers for one in self.wanted(number)))

    def wanted(self, number: int) -> Iterator[Any]:
        """Yield what `draw` will read for meta-batch `number`."""
        keys = self.keys(self.share_of(number))
        if self.flat:
            for key in keys:
                yield from self.tasks.wanted_flat(key, self.flat)
        elif self.composer is not None:
            yield from self.tasks.wanted_composed(keys, [self.composer.compose(key) for key in keys])
        else:
            yield from self.tasks.wanted(keys, *self.size_of(number))

    def keys(self, indices: range) -> list[Key]:
        """Return the keys of the episodes with these indices."""
        return [Key(self.seed, self.split, self.epoch, index) for index in indices]

    def size_of(self, number: int) -> tuple[int, int, int]:
        """Draw the ways, shots and queries of meta-batch `number`."""
        return self.size.draw(Key(self.seed, self.split, self.epoch, number).rng("size"))

    def draw(self, number: int, indices: range) -> MetaBatch | NamedTasks:
        keys = self.keys(indices)
        if self.flat or self.composer is not None:
            episodes = (
                self.tasks.draw_composed(keys, [self.composer.compose(key) for key in keys])
                if self.composer is not None
                else [self.tasks.draw_flat(key, self.flat) for key in keys]
            )
            batch, sizes = join_tasks(episodes), [size_of(episode) for episode in episodes] if self.named else []
        else:
            batch, sizes = self.tasks.draw_batch(keys, *self.size_of(number)), [()] * len(keys)
        return self._named(batch, keys, sizes) if self.named else batch

    def _named(self, batch: MetaBatch, keys: list[Key], sizes: list[tuple[Any, ...]]) -> NamedTasks:
        """Add the numbers that name the tasks, for the sizes of the tasks."""
        names: dict[tuple[Any, ...], list[int]] = {}  # in the order in which tasks are joined
        for key, size in zip(keys, sizes, strict=True):
            names.setdefault(size, []).append(int(key.rng("augment").integers(2**63)))
        return NamedTasks(batch, [torch.tensor(own) for own in names.values()])
