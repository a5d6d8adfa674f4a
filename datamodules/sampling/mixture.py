"""Few-shot image classification from several sets, mixed by weight."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.augmentation.new_classes import ClassAugmentation
from datamodules.reading.image_source import check_alike
from datamodules.reading.joined_set import JoinedSet
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.composition import Composer, Composition, Numbers, Sampler
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.image_tasks import ImageTasks, Plan
from datamodules.sampling.meta_batches import Key
from datamodules.sampling.meta_dataset import as_range
from lightning_meta.core import InputError

Mix = Literal["episodes", "classes"]


class MixedTasks(ImageTasks):
    """Tasks from several sets of images.

    Episodes are mixed by drawing the set of each by weight, with a generator of its own for the key, and then the episode as
    `ImageTasks` of that set would. Classes are mixed by drawing, for one class after another, a set by weight among those that
    have classes left, and a class of it uniformly among those that are left.

    Args:
        sets: The sets, by name, with images of one shape and kind.
        weights: The weight of each set.
        mix: Whether an episode has classes of one set (`episodes`) or of all of them (`classes`).
        augmentation: Rule that makes new classes, which are drawn like the others; by default there are none.

    Attributes:
        parts: The tasks of each set alone, by name.

    Raises:
        InputError: If the sets differ in the shape or kind of their images.
    """

    def __init__(
        self,
        sets: Mapping[str, ShardSet],
        weights: Sequence[float | int],
        mix: Mix = "episodes",
        augmentation: ClassAugmentation | None = None,
    ):
        check_alike(sets)
        self.joined = JoinedSet(list(sets.values()))
        super().__init__(self.joined, augmentation)
        self.parts = {name: ImageTasks(shards, augmentation) for name, shards in sets.items()}
        self.sets, self.names, self.weights = sets, list(sets), np.array(weights, float)
        self.mix: Mix = mix
        self._pools: dict[str, list[Numbers]] = {}

    def check(self, split: str, size: EpisodeSize) -> None:
        if self.mix == "classes":
            return super().check(split, size)
        for name, part in self.parts.items():
            try:
                part.check(split, size)
            except InputError as error:
                raise InputError(f"source {name}: {error}") from error

    def pools(self, split: str) -> list[Numbers]:
        """Return the classes of a split that are of each set, by their numbers in all sets joined."""
        if split not in self._pools:
            classes = self.classes(split)
            of_set = np.searchsorted(self.joined.index.starts, self.versions.records(classes), "right") - 1
            self._pools[split] = [classes[of_set == part] for part in range(len(self.parts))]
        return self._pools[split]

    def source_of(self, key: Key) -> int:
        """Return the number of the set that an episode is drawn from."""
        return draw_by_weight(key.rng("source"), self.weights, 1)[0]

    def choose(self, key: Key, rng: np.random.Generator, ways: int) -> Numbers:
        pools = self.pools(key.split)
        if self.mix == "episodes":
            return rng.choice(pools[self.source_of(key)], ways, replace=False)
        left, taken = [len(pool) for pool in pools], draw_by_weight(rng, self.weights, ways)
        for place, source in enumerate(taken):
            if not left[source]:  # all its classes are in the episode
                (taken[place],) = draw_by_weight(rng, np.where(np.array(left) > 0, self.weights, 0.0), 1)
            left[taken[place]] -= 1
        of_each = [iter(rng.choice(pool, taken.count(i), replace=False)) for i, pool in enumerate(pools)]
        return np.array([next(of_each[i]) for i in taken])

    def spares(self, plan: Plan, label: int) -> Numbers:
        """Return the classes that may come in place of a damaged one: those of the same set."""
        part, _ = self.joined.index.owner(self.versions.record(plan.records[label]))
        first, last = self.joined.index.starts[part : part + 2]
        records = self.versions.records(plan.classes)
        return plan.classes[(records >= first) & (records < last)]

    def name(self, number: int) -> str:
        """Return the name of a class, below that of its source."""
        part, own = self.joined.index.owner(self.versions.record(number))
        return self.versions.named(number, f"{self.names[part]}/{self.joined.index.parts[part].name(own)}")

    def with_classes(self, augmentation: ClassAugmentation) -> "MixedTasks":
        return MixedTasks(self.sets, self.weights.tolist(), self.mix, augmentation)

    def composer(self, sampler: Sampler, split: str, size: EpisodeSize) -> Composer:
        if self.mix == "classes":
            raise InputError(
                f"sampler is {type(sampler).__name__}, which chooses classes of one source, but mix is classes: set data.mix"
                " to episodes, or leave the sampler out"
            )
        return MixedComposer(self, split, [part.composer(sampler, split, size) for part in self.parts.values()])


class MixedComposer(Composer):
    """Draws the set of an episode, then the composition within it.

    Args:
        tasks: The sets.
        split: Name of the split.
        parts: The composer of each set.
    """

    def __init__(self, tasks: MixedTasks, split: str, parts: Sequence[Composer]):
        self.tasks, self.parts = tasks, list(parts)
        self.lengths = (
            np.array([len(pool) for pool in tasks.pools(split)]) // tasks.versions.count
        )  # without new classes
        self.starts = np.cumsum([0, *self.lengths])  # within the split of all sets joined

    def compose(self, key: Key) -> Composition:
        part = self.tasks.source_of(key)
        return self._numbered(part, self.parts[part].compose(key))

    def bounds(self) -> EpisodeSize:
        """Return the bounds that hold whichever set is drawn."""
        bounds = [part.bounds() for part in self.parts]
        smallest, largest = (
            np.array([size(one) for one in bounds]) for size in (EpisodeSize.smallest, EpisodeSize.largest)
        )
        low, high = smallest.min(0).tolist(), largest.max(0).tolist()
        return EpisodeSize(*(as_range(*ends) for ends in zip(low, high, strict=True)))

    def extremes(self) -> tuple[Composition, Composition]:
        pairs = [part.extremes() for part in self.parts]
        small, large = ([self._numbered(i, pair[end]) for i, pair in enumerate(pairs)] for end in (0, 1))
        return min(small, key=_images), max(large, key=_images)

    def _numbered(self, part: int, composition: Composition) -> Composition:
        """Return a composition of one set, its classes numbered as in all sets joined."""
        version, place = np.divmod(composition.classes, self.lengths[part])
        return composition._replace(classes=version * self.starts[-1] + self.starts[part] + place)


def draw_by_weight(rng: np.random.Generator, weights: NDArray[np.floating], n: int) -> list[int]:
    """Draw n numbers, each with a probability proportional to its weight."""
    ends = np.cumsum(weights)
    return np.searchsorted(ends, rng.random(n) * ends[-1], "right").tolist()


def _images(composition: Composition) -> int:
    """Return the number of images of an episode."""
    return len(composition.labels) + int(composition.queries.sum())
