"""A sampler of episodes of the configured size: related or unrelated classes, imbalanced support sets, noisy labels."""

from typing import Any, Literal

import numpy as np

from datamodules.sampling.composition import Composer, Composition, Numbers, Sampler, SplitClasses, draw_distinct
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.families import GROUPS, describe_hierarchy, families, of_groups
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least

ClassChoice = Literal["uniform", "proportional", "near", "far"]
Imbalance = Literal["none", "random", "linear", "step"]
MARGIN = 0.499  # by which the ends of a linear imbalance are widened before rounding


class ConfiguredSize(Sampler):
    """Episodes of the ways, shots and queries of the data, whose classes are related, or whose support sets are flawed.

    A range of ways, shots or queries is drawn anew for every episode, so that the tasks of a meta-batch may differ in size
    (without a sampler it is drawn for a meta-batch).

    An imbalance takes the ends of the range of shots as K_min and K_max and gives the classes of an episode, in random order,
    unequal shots (Ochal et al. 2021, Few-Shot Learning with Class Imbalance, arXiv:2101.02523): random, K_i uniform from K_min
    to K_max; linear, K_i = round(K_min - c + (i - 1) (K_max + 2 c - K_min) / (ways - 1)), c = 0.499; step, K_min for a part of
    the classes and K_max for the others.

    Args:
        classes: Choice of the classes of an episode: uniform; proportional, with a probability proportional to the images of a
            class; near, all of one family, which is drawn uniformly from those with enough classes; or far, each of another
            group.
        hierarchy: Families of near classes, `groups` or a CSV file with the columns child and parent.
        max_leaves: Largest number of classes below a node of a CSV file that counts as a family.
        imbalance: Distribution of unequal shots over the classes of an episode: none, random, linear or step.
        minority: Part of the classes that has the fewer shots with a step imbalance, rounded to whole classes.
        label_noise: Part of the support labels that is replaced by another label of the task, each drawn uniformly. One image
            of every class keeps its label, so it is at most 1 - 1 / shots; with a random imbalance, an episode of fewer
            images may have fewer wrong labels.
    """

    def __init__(
        self,
        classes: ClassChoice = "uniform",
        hierarchy: str = GROUPS,
        max_leaves: int = 392,
        imbalance: Imbalance = "none",
        minority: float = 0.5,
        label_noise: float = 0.0,
    ):
        for name, value, legal in (
            ("classes", classes, ("uniform", "proportional", "near", "far")),
            ("imbalance", imbalance, ("none", "random", "linear", "step")),
        ):
            if value not in legal:
                raise InputError(f"{name} is {value!r}: choose {', '.join(legal[:-1])} or {legal[-1]}")
        if classes != "near" and hierarchy != GROUPS:
            raise InputError(
                f"hierarchy is for near classes, and classes is {classes}: set classes to near, or leave it out"
            )
        if not 0 < minority < 1 or not 0 <= label_noise < 1:
            raise InputError(f"minority is {minority} and label_noise {label_noise}: give parts between 0 and 1")
        check_at_least(2, max_leaves=max_leaves)
        self.classes, self.hierarchy, self.max_leaves = classes, hierarchy, max_leaves
        self.imbalance, self.minority, self.label_noise = imbalance, minority, label_noise

    def settings(self) -> dict[str, Any]:
        """Return the arguments that have an effect."""
        own: dict[str, Any] = {"classes": self.classes}
        if self.classes == "near":
            own["hierarchy"] = describe_hierarchy(self.hierarchy)
            own |= {} if self.hierarchy == GROUPS else {"max_leaves": self.max_leaves}
        own |= {} if self.imbalance == "none" else {"imbalance": self.imbalance}
        own |= {"minority": self.minority} if self.imbalance == "step" else {}
        return own | ({"label_noise": self.label_noise} if self.label_noise else {})

    def composer(self, classes: SplitClasses, size: EpisodeSize) -> "ConfiguredSizeComposer":
        (least_ways, least_shots, _), (ways, shots, queries) = size.smallest(), size.largest()
        if ways > len(classes.counts):
            raise InputError(
                f"{ways} ways were asked of {classes.where}, which has {len(classes.counts)} classes: ask for fewer"
            )
        smallest = int(np.argmin(classes.counts))
        if (needed := shots + queries) > (count := int(classes.counts[smallest])):
            raise InputError(
                f"{shots} shots and {queries} queries need {needed} images per class, but class {classes.name(smallest)!r} of"
                f" {classes.where} has {count}: ask for {count} or fewer in all"
            )
        if self.imbalance != "none" and (least_shots == shots or least_ways < 2):
            raise InputError(
                f"an imbalance is between the two ends of a range of shots, in tasks of 2 ways or more: shots is {size.shots}"
                f" and ways {size.ways}, so set shots to [first, last]"
            )
        most_noise = 1 - 1 / (least_shots if self.imbalance == "none" else (least_shots + shots) / 2)
        if self.label_noise and (self.label_noise > most_noise + 1e-9 or least_ways < 2):
            raise InputError(
                f"label_noise is {self.label_noise}, but of {size.shots} shots and {size.ways} ways at most {most_noise:.2f}"
                " can be wrong, for one image of every class keeps its label: lower it, or ask for more shots, or 2 ways"
            )
        pools: list[Numbers] = []
        if self.classes == "near":
            pools = families(classes, self.hierarchy, ways, self.max_leaves)
        if self.classes == "far" and len(pools := of_groups(classes)) < ways:
            raise InputError(
                f"{ways} ways of as many groups were asked of {classes.where}, which has {len(pools)} groups: ask for fewer"
            )
        return ConfiguredSizeComposer(self, classes.counts, size, pools)


class ConfiguredSizeComposer(Composer):
    """Draws compositions of the configured size.

    Args:
        rules: The sampler.
        counts: The number of images of each class of the split.
        size: The configured size.
        pools: The classes of each family or group, for near and far classes.
    """

    def __init__(self, rules: ConfiguredSize, counts: Numbers, size: EpisodeSize, pools: list[Numbers]):
        self.rules, self.counts, self.size, self.pools = rules, counts, size, pools

    def compose(self, key: Key) -> Composition:
        rng = key.rng("sampler")
        ways, shots, queries = self.size.draw(rng)
        classes = self.choose(rng, ways)
        composition = Composition.of(classes, self.shots(rng, ways, shots), queries)
        return composition._replace(labels=self.noisy(rng, composition)) if self.rules.label_noise else composition

    def choose(self, rng: np.random.Generator, ways: int) -> Numbers:
        """Draw the classes of an episode."""
        if self.rules.classes == "near":
            return rng.choice(self.pools[int(rng.integers(len(self.pools)))], ways, replace=False)
        if self.rules.classes == "far":
            groups = rng.choice(len(self.pools), ways, replace=False)
            return np.array([rng.choice(self.pools[group]) for group in groups.tolist()])
        if self.rules.classes == "proportional":
            return draw_distinct(rng, self.counts, ways)
        return rng.choice(len(self.counts), ways, replace=False)

    def shots(self, rng: np.random.Generator, ways: int, shots: int) -> Numbers:
        """Draw the shots of every class; without an imbalance they are all `shots`."""
        (_, low, _), (_, high, _) = self.size.smallest(), self.size.largest()
        if self.rules.imbalance == "random":
            return rng.integers(low, high + 1, ways)
        if self.rules.imbalance == "linear":
            return rng.permutation(np.round(np.linspace(low - MARGIN, high + MARGIN, ways)).astype(int))
        if self.rules.imbalance == "step":
            few = min(max(round(self.rules.minority * ways), 1), ways - 1)
            return rng.permutation(np.where(np.arange(ways) < few, low, high))
        return np.full(ways, shots)

    def noisy(self, rng: np.random.Generator, composition: Composition) -> Numbers:
        """Return the labels of the support images, a part of which are of another class of the task."""
        labels, ways = composition.labels, len(composition.classes)
        firsts = np.cumsum(composition.shots) - composition.shots  # images of a class are in random order
        others = np.delete(np.arange(len(labels)), firsts)
        wrong = rng.choice(others, min(round(self.rules.label_noise * len(labels)), len(others)), replace=False)
        labels = labels.copy()
        labels[wrong] = (labels[wrong] + rng.integers(1, ways, len(wrong))) % ways
        return labels

    def bounds(self) -> EpisodeSize:
        return self.size

    def extremes(self) -> tuple[Composition, Composition]:
        """The classes are any: all have enough images."""
        small, large = (
            Composition.of(np.arange(ways), np.full(ways, shots), queries)
            for ways, shots, queries in (self.size.smallest(), self.size.largest())
        )
        return small, large
