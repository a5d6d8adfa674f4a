"""The sampler of Meta-Dataset: variable ways, and unequal shots.

Eleni Triantafillou et al. Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples. ICLR 2020,
arXiv:1903.03096, section 3.2 and the appendix on sampling.
"""

import math
from typing import Any

import numpy as np

from datamodules.sampling.composition import Composer, Composition, Numbers, Sampler, SplitClasses
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.families import GROUPS, describe_hierarchy, families
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least

TRIED = 64  # families among which the largest episode is looked for
LOG_WEIGHTS = math.log(0.5), math.log(2.0)  # between which alpha is drawn


class MetaDataset(Sampler):
    """Meta-Dataset's sampler, which draws ways, shots and queries itself, so that those of the data are not used.

    Without a hierarchy the number of ways is uniform between `min_ways` and `max_ways`, or as many classes as there are, and
    the classes are uniform. With `groups` a group is drawn first, and the ways and classes within it, as for Omniglot's
    alphabets. With a CSV file a node of `min_ways` to `max_leaves` classes is drawn first, and all its classes are taken, or
    `max_ways` of them, as for ImageNet. Groups and nodes are drawn uniformly; those with fewer than `min_ways` classes are
    passed over (the authors' code ends with an error at such a group). Then, for the classes C with |c| images each,

        queries    q = min(max_queries, min_c floor(|c| / 2)), the same for every class,
        support    |S| = min(max_support, sum_c ceil(beta min(max_contribution, |c| - q))), beta uniform in (0, 1],
        shots      k_c = min(floor(R_c (|S| - |C|)) + 1, |c| - q), R_c = exp(alpha_c) |c| / sum_c' exp(alpha_c') |c'|,

    with alpha_c uniform in [log 0.5, log 2). So every class has a shot, and a class has about as large a part of the support
    set as of the images. The order of the classes, which is that of the labels, is always random.

    Args:
        hierarchy: Families that the classes of an episode are drawn from, `groups` or a CSV file with the columns child and
            parent; by default all classes of the split are one.
        min_ways: Smallest number of ways.
        max_ways: Largest number of ways.
        max_queries: Largest number of queries per class.
        max_support: Largest number of support images of an episode.
        max_contribution: Number of images of a class that count, at most, towards the size of the support set.
        max_leaves: Largest number of classes below a node of a CSV file that may be drawn.
        min_images: Classes with fewer images are left out. Two are always needed.
    """

    has_own_sizes = True

    def __init__(
        self,
        hierarchy: str | None = None,
        min_ways: int = 5,
        max_ways: int = 50,
        max_queries: int = 10,
        max_support: int = 500,
        max_contribution: int = 100,
        max_leaves: int = 392,
        min_images: int = 0,
    ):
        check_at_least(2, min_ways=min_ways)
        check_at_least(1, max_queries=max_queries, max_contribution=max_contribution)
        check_at_least(0, min_images=min_images)
        check_at_least(min_ways, max_ways=max_ways, max_leaves=max_leaves)
        check_at_least(max_ways, max_support=max_support)
        self.hierarchy, self.min_ways, self.max_ways, self.max_queries = hierarchy, min_ways, max_ways, max_queries
        self.max_support, self.max_contribution = max_support, max_contribution
        self.max_leaves, self.min_images = max_leaves, min_images

    def settings(self) -> dict[str, Any]:
        """Return the arguments, with a digest of the content of a hierarchy's file."""
        return {
            name: value
            for name, value in (vars(self) | {"hierarchy": describe_hierarchy(self.hierarchy)}).items()
            if value is not None
        }

    def composer(self, classes: SplitClasses, size: EpisodeSize) -> "MetaDatasetComposer":  # noqa: ARG002  it has its own
        kept = np.flatnonzero(classes.counts >= self.min_images)
        few = [number for number in kept.tolist() if classes.counts[number] < 2]
        if few:
            raise InputError(
                f"{len(few)} classes of {classes.where} have fewer than 2 images, for example {classes.name(few[0])!r}: a"
                " class needs one for support and one for queries. Set min_images of the sampler to leave such classes out"
            )
        if self.hierarchy is None:
            pools: list[Numbers] = [kept]
            if len(kept) < self.min_ways:
                raise InputError(
                    f"{classes.where} has {len(kept)} classes with {max(self.min_images, 2)} images or more, fewer than the"
                    f" sampler's min_ways {self.min_ways}: lower min_ways or min_images"
                )
        else:
            own = SplitClasses(
                classes.where,
                classes.counts[kept],
                None if classes.groups is None else classes.groups[kept],
                lambda number: classes.name(int(kept[number])),
            )
            pools = [kept[members] for members in families(own, self.hierarchy, self.min_ways, self.max_leaves)]
        return MetaDatasetComposer(self, classes.counts, pools)


class MetaDatasetComposer(Composer):
    """Draws compositions by the rules of Meta-Dataset.

    Args:
        rules: The sampler.
        counts: The number of images of each class of the split.
        pools: The classes of each family.
    """

    def __init__(self, rules: MetaDataset, counts: Numbers, pools: list[Numbers]):
        self.rules, self.counts, self.pools = rules, counts, pools
        self.takes_all = rules.hierarchy not in (None, GROUPS)

    def compose(self, key: Key) -> Composition:
        rng, rules = key.rng("sampler"), self.rules
        pool = self.pools[int(rng.integers(len(self.pools)))]
        most = min(rules.max_ways, len(pool))
        ways = most if self.takes_all else int(rng.integers(rules.min_ways, most + 1))
        classes = rng.choice(pool, ways, replace=False)
        counts = self.counts[classes]
        queries = self.queries(counts)
        support = self.support(counts, queries, 1.0 - rng.random())
        weights = np.exp(rng.uniform(*LOG_WEIGHTS, ways)) * counts
        shots = np.floor(weights / weights.sum() * (support - ways)).astype(int) + 1
        return Composition.of(classes, np.minimum(shots, counts - queries), queries)

    def queries(self, counts: Numbers) -> int:
        """Return the number of queries of every class, for the numbers of their images."""
        return min(self.rules.max_queries, int(counts.min()) // 2)

    def support(self, counts: Numbers, queries: int, beta: float) -> int:
        """Return the size of the support set."""
        contributions = np.minimum(self.rules.max_contribution, counts - queries)
        return min(self.rules.max_support, int(np.ceil(beta * contributions).sum()))

    def bounds(self) -> EpisodeSize:
        sizes = [min(self.rules.max_ways, len(pool)) for pool in self.pools]
        counts = np.concatenate(self.pools)
        least, most = int(self.counts[counts].min()), int(self.counts[counts].max())
        fewest = min(sizes) if self.takes_all else self.rules.min_ways
        queries = min(self.rules.max_queries, least // 2), min(self.rules.max_queries, most // 2)
        shots = min(self.rules.max_support - fewest + 1, most - queries[0])
        return EpisodeSize(as_range(fewest, max(sizes)), as_range(1, shots), as_range(*queries))

    def extremes(self) -> tuple[Composition, Composition]:
        """The smallest has one shot of each class. The largest has all the support images that any can have."""
        smallest = min(self.pools, key=len)
        fewest = min(self.rules.max_ways, len(smallest)) if self.takes_all else self.rules.min_ways
        few = smallest[np.argsort(self.counts[smallest], kind="stable")[:fewest]]
        small = Composition.of(few, np.ones(fewest, int), self.queries(self.counts[few]))
        large = (self.largest(pool) for pool in self.richest())
        return small, max(large, key=lambda one: len(one.labels) + one.queries.sum())

    def richest(self) -> list[Numbers]:
        """Return the families that give the most support images, and of those the ones with the most classes."""
        ends = np.cumsum([len(pool) for pool in self.pools])
        contributions = np.minimum(self.rules.max_contribution, self.counts[np.concatenate(self.pools)])
        totals = np.minimum(self.rules.max_support, np.add.reduceat(contributions, np.concatenate([[0], ends[:-1]])))
        order = sorted(range(len(self.pools)), key=lambda i: (-totals[i], -len(self.pools[i])))
        return [self.pools[i] for i in order[:TRIED]]

    def largest(self, pool: Numbers) -> Composition:
        """Return a composition of the largest classes of a family, with as many support images as can be."""
        classes = pool[np.argsort(-self.counts[pool], kind="stable")[: self.rules.max_ways]]
        counts = self.counts[classes]
        queries = self.queries(counts)
        caps, left = counts - queries, self.support(counts, queries, 1.0)
        shots = np.zeros(len(classes), int)
        while left and (shots < caps).any():  # one more of each class, as far as there are more
            more = np.flatnonzero(shots < caps)[:left]
            shots[more] += 1
            left -= len(more)
        return Composition.of(classes, shots, queries)


def as_range(low: int, high: int) -> int | tuple[int, int]:
    """Return a range, or the number that both ends are."""
    return low if low == high else (low, high)
