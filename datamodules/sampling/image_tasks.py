"""Few-shot image classification from a shard set: draw classes, then images of each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.augmentation.new_classes import ClassAugmentation, Versions
from datamodules.index import class_names
from datamodules.index.trained_on import check_shape, images_of
from datamodules.reading.damage import DamageError
from datamodules.reading.joined_set import JoinedSet
from datamodules.reading.shard_set import Images, ShardSet, Wanted
from datamodules.sampling.composition import Composition, SplitClasses
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.episodes import Tasks
from datamodules.sampling.flat import Passes
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import Episode, Examples, InputError, flat_batch

MANY = 1000  # images of a class, above which a whole permutation of them would take longer than reading some


class ImageTasks(Tasks):
    """Tasks of `ways` classes of a split, with `shots + queries` images of each, all uniform without replacement.

    Support examples come in random order, queries class by class.

    Args:
        shards: The set to draw from.
        augmentation: Rule that makes new classes, which are drawn like the others; by default there are none.
    """

    def __init__(self, shards: ShardSet | JoinedSet, augmentation: ClassAugmentation | None = None):
        self.shards, self.versions = shards, Versions(len(shards.damaged), augmentation)
        # Damage that is detected later must not change the sequence, so this is a copy.
        self._damaged = shards.damaged.numpy().copy()
        self._classes: dict[str, NDArray[np.integer]] = {}
        self._trained: dict[str, torch.Tensor] = {}
        self._passes: dict[str, Passes] = {}

    def check(self, split: str, size: EpisodeSize) -> None:
        ways, shots, queries = size.largest()
        classes = self.classes(split)
        if ways > len(classes):
            sizes = {name: len(self.classes(name)) for name in self.shards.index.splits}
            listed = ", ".join(f"{name} {count}" for name, count in sizes.items())
            raise InputError(
                f"{ways} ways were asked of split {split!r} of {self.shards.root}, which has"
                f" {len(classes)} classes to draw from: ask for {len(classes)} ways or fewer"
                f"{f' ({report})' if (report := self.report()) else ''}. {min(sizes.values())} or fewer suit every split"
                f" ({listed}); ways sets those of training, eval_ways those of validation and test"
            )
        needed = shots + queries
        smallest = self.versions.record(int(classes[np.argmin(self.counts(classes))]))
        if needed > (count := self.shards.count(smallest)):
            raise InputError(
                f"{shots} shots and {queries} queries need {needed} images per class, but class"
                f" {self.shards.index.name(smallest)!r} of split {split!r} has {count}: ask for {count} or fewer in all"
            )

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        return self.draw_batch([key], ways, shots, queries)

    def draw_batch(self, keys: Sequence[Key], ways: int, shots: int, queries: int) -> Episode:
        kind, shape = self.shards.kind
        support = np.empty((len(keys), ways * shots, *shape), kind)
        query = np.empty((len(keys), ways * queries, *shape), kind)
        support_y = np.empty((len(keys), ways * shots), np.int64)
        plans = [self.plan(key, ways, shots, queries) for key in keys]
        self.shards.prefetch(self._pairs(plans))
        for task, plan in enumerate(plans):
            # A learner that reads the support set in sequence must not see a pattern in its order.
            place = np.argsort(plan.order).reshape(ways, shots)
            support_y[task] = plan.order // shots
            of_support, of_query = list(support[task]), list(query[task])
            for label, places in enumerate(place.tolist()):
                out = [of_support[place] for place in places] + of_query[label * queries : (label + 1) * queries]
                self._read(plan, label, out)
        query_y = torch.arange(ways).repeat_interleave(queries).expand(len(keys), -1).clone()
        return Episode(
            Examples(torch.from_numpy(support), torch.from_numpy(support_y)), Examples(torch.from_numpy(query), query_y)
        )

    def class_names(self, key: Key, ways: int, shots: int, queries: int) -> list[str]:
        plan, (kind, shape) = self.plan(key, ways, shots, queries), self.shards.kind
        class_images = np.empty((shots + queries, *shape), kind)
        for label in range(ways):
            self._read(plan, label, list(class_images))  # another class may come in place of a damaged one
        return [self.name(record) for record in plan.records]

    def split_classes(self, split: str) -> SplitClasses:
        classes, index = self.classes(split), self.shards.index
        where = f"split {split!r} of {self.shards.root}"
        return SplitClasses(
            where,
            self.counts(classes),
            index.groups(self.versions.records(classes)),
            lambda number: index.name(self.versions.record(int(classes[number]))),
        )

    def draw_composed(self, keys: Sequence[Key], compositions: Sequence[Composition]) -> list[Episode]:
        plans = [self.composed_plan(key, one) for key, one in zip(keys, compositions, strict=True)]
        self.shards.prefetch(self._pairs(plans))
        return [self._composed(plan, one) for plan, one in zip(plans, compositions, strict=True)]

    def _composed(self, plan: "Plan", composition: Composition) -> Episode:
        """Read the images of a task."""
        (_, shots, queries, labels), (kind, shape) = composition, self.shards.kind
        support, query = np.empty((1, len(labels), *shape), kind), np.empty((1, int(queries.sum()), *shape), kind)
        of_support, of_query = list(support[0]), list(query[0])
        places = np.split(np.argsort(plan.order), np.cumsum(shots)[:-1])  # of the support images of each class
        ends = np.cumsum(queries).tolist()
        for label, (own, end, n) in enumerate(zip(places, ends, queries.tolist(), strict=True)):
            self._read(plan, label, [of_support[place] for place in own.tolist()] + of_query[end - n : end])
        support_y = torch.from_numpy(labels[plan.order]).long().unsqueeze(0)
        query_y = torch.arange(len(shots)).repeat_interleave(torch.from_numpy(queries)).unsqueeze(0)
        return Episode(Examples(torch.from_numpy(support), support_y), Examples(torch.from_numpy(query), query_y))

    def composed_names(self, key: Key, composition: Composition) -> list[str]:
        plan = self.composed_plan(key, composition)
        self._composed(plan, composition)  # another class may come in place of a damaged one
        return [self.name(record) for record in plan.records]

    def composed_plan(self, key: Key, composition: Composition) -> "Plan":
        """Draw the images of each class of a composition, and the order of the support set."""
        rng, classes, needed = key.rng(), self.classes(key.split), composition.shots + composition.queries
        records = classes[composition.classes]
        counts = self.counts(records)
        images = [_some(rng, count, n) for count, n in zip(counts.tolist(), needed.tolist(), strict=True)]
        order, spare = rng.permutation(len(composition.labels)), classes
        if self.shards.on_error == "skip":  # what comes in place of a damaged class has as many images
            spare = classes[self.counts(classes) >= needed.max()]
        return Plan(records.tolist(), images, order, spare, rng, [])

    def plan(self, key: Key, ways: int, shots: int, queries: int) -> "Plan":
        """Draw the classes of a task, the images of each, and the order of the support set."""
        rng = key.rng()
        records: list[int] = self.choose(key, rng, ways).tolist()
        counts = self.counts(np.array(records)).tolist()
        images = [_some(rng, count, shots + queries) for count in counts]
        return Plan(records, images, rng.permutation(ways * shots), self.classes(key.split), rng, [])

    def choose(self, key: Key, rng: np.random.Generator, ways: int) -> NDArray[np.integer]:
        """Draw the classes of a task, by their numbers in the set."""
        return rng.choice(self.classes(key.split), ways, replace=False)

    def spares(self, plan: "Plan", label: int) -> NDArray[np.integer]:  # noqa: ARG002  any class will do in a single set
        """Return the classes that may come in place of a damaged one of a task."""
        return plan.classes

    def _pairs(self, plans: Iterable["Plan"]) -> Iterator[Wanted]:
        """Yield the classes of the set that some tasks read, each with the numbers of its images."""
        pairs = (pair for plan in plans for pair in zip(plan.records, plan.images, strict=True))
        return ((self.versions.record(number), images) for number, images in pairs)

    def _read(self, plan: "Plan", label: int, out: Sequence[Images]) -> None:
        """Read the images of a class of a task, or of another class in place of a damaged one (on_error: skip)."""
        while True:
            try:
                self.shards.read_images(self.versions.record(plan.records[label]), plan.images[label], out)
                self.versions.change(plan.records[label], out)
                return
            except DamageError:
                if self.shards.on_error == "raise":
                    raise
                self.shards.forget(self.versions.record(plan.records[label]))
                plan.tried.append(plan.records[label])
                spares = self.spares(plan, label)
                plan.records[label] = self._another(plan.rng, spares, [*plan.records, *plan.tried])
                plan.images[label] = _some(
                    plan.rng, self.shards.count(self.versions.record(plan.records[label])), len(out)
                )

    def draw_flat(self, key: Key, n: int) -> Episode:
        """Draw images from passes over the split, each image once per pass (see `datamodules.sampling.flat`)."""
        images, labels = self._flat(key.split).read(key, n)
        return flat_batch(Examples(torch.from_numpy(images).unsqueeze(0), torch.from_numpy(labels).unsqueeze(0)))

    def fetcher(self) -> Callable[[Iterator[Wanted]], None] | None:
        shards = self.shards.for_fetching()
        return shards and shards.fetch

    def wanted(self, keys: Sequence[Key], ways: int, shots: int, queries: int) -> Iterator[Wanted]:
        return self._pairs(self.plan(key, ways, shots, queries) for key in keys)

    def wanted_composed(self, keys: Sequence[Key], compositions: Sequence[Composition]) -> Iterator[Wanted]:
        return self._pairs(map(self.composed_plan, keys, compositions))

    def wanted_flat(self, key: Key, n: int) -> Iterator[Wanted]:
        return self._flat(key.split).wanted(key, n)

    def _flat(self, split: str) -> Passes:
        """Return the passes over a split."""
        if split not in self._passes:
            of_split = self.versions.of(self.shards.index.split(split))
            labels = np.flatnonzero(~self._damaged[self.versions.records(of_split)])
            self._passes[split] = Passes(self.shards, self.classes(split), labels, self.versions)
        return self._passes[split]

    def classes(self, split: str) -> NDArray[np.integer]:
        """Return the numbers of the classes of a split, as in `versions`, without those known as damaged when the set was
        opened."""
        if split not in self._classes:
            classes = self.shards.index.split(split)
            self._classes[split] = self.versions.of(classes[~self._damaged[classes]])
        return self._classes[split]

    def counts(self, classes: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the number of images of each class."""
        return self.shards.index.counts(self.versions.records(classes))

    def name(self, number: int) -> str:
        """Return the name of a class."""
        return self.versions.named(number, self.shards.index.name(self.versions.record(number)))

    def augmented(self, augmentation: ClassAugmentation) -> "ImageTasks":
        shape = self.shards.kind[1]
        if len(shape) != 3:
            raise InputError(
                f"augment_classes is {type(augmentation).__name__}, which changes images, but an example of"
                f" {self.shards.root} is a vector of {shape[0]} features: leave it out, or write features of such classes"
            )
        return self.with_classes(augmentation)

    def with_classes(self, augmentation: ClassAugmentation) -> "ImageTasks":
        """Return the same tasks with new classes among them."""
        return ImageTasks(self.shards, augmentation)

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


class Plan(NamedTuple):
    """The contents of a task, before any image is read.

    records: the class of each label.  images: the numbers of the images of each class, those of the support set first.
    order: the example in each place of the support set, counted class by class.  classes: those that may replace a damaged one.
    rng: the generator after that.  tried: classes that turned out to be damaged.
    """

    records: list[int]
    images: list[NDArray[np.integer]]
    order: NDArray[np.integer]
    classes: NDArray[np.integer]
    rng: np.random.Generator
    tried: list[int]


def _some(rng: np.random.Generator, count: int, n: int) -> NDArray[np.integer]:
    """Draw n of the images of a class, which has `count`."""
    return rng.permutation(count)[:n] if count <= MANY else rng.choice(count, n, replace=False)
