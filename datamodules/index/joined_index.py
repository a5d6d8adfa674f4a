"""The indices of several sets as one."""

from collections.abc import Callable, Sequence

import numpy as np

from datamodules.index.header import FeatureInfo
from datamodules.index.shard_index import Index, Numbers
from datamodules.reading.preprocess import Preprocess


class JoinedIndex:
    """The classes of several indices, numbered on from each to the next. It has those methods of an `Index` that drawing
    needs.

    Args:
        parts: The indices, of images of one shape and kind.

    Attributes:
        starts: The number of the first class of each index, and the number of all classes.
    """

    def __init__(self, parts: Sequence[Index]):
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(one.records) for one in parts)])

    @property
    def splits(self) -> list[str]:
        """The names of the splits that every index has."""
        return [name for name in self.parts[0].splits if all(name in one.splits for one in self.parts)]

    @property
    def features(self) -> FeatureInfo | None:
        """The kind of features, if these are sets of features."""
        return self.parts[0].features

    @property
    def encoded(self) -> bool:
        """True if some set has encoded images, such as JPEG files."""
        return any(one.encoded for one in self.parts)

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of the first set; the others' images have the same shape."""
        return self.parts[0].preprocess

    @property
    def source_bytes(self) -> int:
        """The length of all sources in bytes."""
        return sum(one.source_bytes for one in self.parts)

    @property
    def same(self) -> Numbers:
        """Pairs of classes of one index that are one under two names, int64 [pairs, 2]."""
        return np.concatenate(
            [one.same.reshape(-1, 2) + start for one, start in zip(self.parts, self.starts, strict=False)]
        )

    def owner(self, record: int) -> tuple[int, int]:
        """Return the number of the index that a class is of, and the number of the class there."""
        part = int(np.searchsorted(self.starts, record, "right")) - 1
        return part, int(record - self.starts[part])

    def split(self, name: str) -> Numbers:
        """Return the class numbers of a split; raise InputError if an index has no such split."""
        return np.concatenate([one.split(name) + start for one, start in zip(self.parts, self.starts, strict=False)])

    def name(self, record: int) -> str:
        """Return the name of a class."""
        part, own = self.owner(record)
        return self.parts[part].name(own)

    def counts(self, records: Numbers) -> Numbers:
        """Return the number of images of each of these classes."""
        return self._of_each(records, lambda _, index, own: index.counts(own))

    def sources_of(self, records: Numbers) -> Numbers:
        """Return for each of these classes the source in which it begins; sources are numbered on like classes."""
        starts = np.cumsum([0, *(len(one.sources) for one in self.parts)])
        return self._of_each(records, lambda part, index, own: index.sources_of(own) + starts[part])

    def groups(self, records: Numbers) -> Numbers | None:
        """Return the number of the group of each of these classes; None if some set has no groups. No two sets share one."""
        starts, found = self.starts, dict[int, Numbers | None]()

        def of_part(part: int, index: Index, own: Numbers) -> Numbers:
            found[part] = index.groups(own)
            return np.zeros(len(own), np.int64) if found[part] is None else found[part] + starts[part]

        numbers = self._of_each(records, of_part)
        return None if any(groups is None for groups in found.values()) else numbers

    def _of_each(self, records: Numbers, value: Callable[[int, Index, Numbers], Numbers]) -> Numbers:
        """Return a number of each of these classes, which `value` gives for those of one index."""
        numbers = np.empty(len(records), np.int64)
        parts = np.searchsorted(self.starts, records, "right") - 1
        for part in np.unique(parts).tolist():
            numbers[parts == part] = value(part, self.parts[part], records[parts == part] - self.starts[part])
        return numbers
