"""The composition of an episode: which classes of a split it has, and how many images of each. It knows no images."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.meta_batches import Key

Numbers = NDArray[np.integer]


class SplitClasses(NamedTuple):
    """The classes of a split as a sampler knows them; their numbers count from 0 in the order of the split.

    where: the split and its set, for messages.
    counts: the number of images of each class.
    groups: the number of the group of each class; None if they have no groups.
    name: gives the name of a class by its number.
    """

    where: str
    counts: Numbers
    groups: Numbers | None
    name: Callable[[int], str]


class Composition(NamedTuple):
    """The composition of an episode. The label of a class is its place in `classes`.

    classes: the number of each class [ways].
    shots: the number of support images of each class [ways].
    queries: the number of query images of each class [ways].
    labels: the label that each support image is given, class by class [sum of shots].
    """

    classes: Numbers
    shots: Numbers
    queries: Numbers
    labels: Numbers

    @staticmethod
    def of(classes: Numbers, shots: Numbers, queries: int) -> "Composition":
        """Return a composition with the same number of queries of every class, and true labels."""
        labels = np.repeat(np.arange(len(classes)), shots)
        return Composition(classes, shots, np.full(len(classes), queries), labels)


class Composer(ABC):
    """Draws the compositions of the episodes of a split, each a pure function of its key."""

    @abstractmethod
    def compose(self, key: Key) -> Composition:
        """Draw the composition of an episode."""

    @abstractmethod
    def bounds(self) -> EpisodeSize:
        """Return the ways, and the shots and queries per class, that can be drawn, as ranges where they vary."""

    @abstractmethod
    def extremes(self) -> tuple[Composition, Composition]:
        """Return a smallest and a largest composition that can be drawn, for a rehearsal."""


class Sampler(ABC):
    """A choice of the compositions of episodes. To add your own, write `composer`; its arguments are its configuration.

    Attributes:
        has_own_sizes: Whether ways, shots and queries are those of the sampler, and those of the data are not used.
    """

    has_own_sizes: ClassVar[bool] = False

    @abstractmethod
    def composer(self, classes: SplitClasses, size: EpisodeSize) -> Composer:
        """Prepare to draw from the classes of a split.

        Args:
            classes: The classes.
            size: Ways, shots and queries as the data configure them.

        Raises:
            InputError: If the classes cannot give such episodes.
        """

    def __str__(self) -> str:
        """Return the class with its arguments, for reports."""
        settings = ", ".join(f"{name}={value}" for name, value in self.settings().items())
        return f"{type(self).__name__}({settings})"

    def settings(self) -> dict[str, Any]:
        """Return the arguments that are not None."""
        return {name: value for name, value in vars(self).items() if value is not None}


def draw_distinct(rng: np.random.Generator, weights: Numbers, n: int) -> Numbers:
    """Draw n different numbers, one after another, each with a probability proportional to its weight among those left."""
    ends, drawn = np.cumsum(weights), dict[int, None]()
    for _ in range(20):  # draws that come again are passed over, which leaves the distribution as it is
        places = np.searchsorted(ends, rng.random(n) * ends[-1], "right")
        drawn |= dict.fromkeys(places.tolist())
        if len(drawn) >= n:
            return np.array(list(drawn)[:n])
    first = np.array(list(drawn))  # a few weights are nearly all
    left = np.delete(np.arange(len(weights)), first)
    share = weights[left] / weights[left].sum()
    return np.concatenate([first, rng.choice(left, n - len(first), replace=False, p=share)])
