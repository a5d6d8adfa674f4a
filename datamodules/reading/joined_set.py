"""Several sets of images, read as one."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.index.joined_index import JoinedIndex
from datamodules.reading.shard_set import Images, ShardSet, Wanted


class JoinedSet:
    """Several sets of images of one shape and kind, with those methods of a `ShardSet` that drawing needs.

    Args:
        parts: The sets.
    """

    def __init__(self, parts: Sequence[ShardSet]):
        self.parts, self.index = list(parts), JoinedIndex([one.index for one in parts])
        self.root, self.on_error = ", ".join(one.root for one in parts), parts[0].on_error
        self._fetched: dict[int, ShardSet | None] = {}
        self.cache = next((one.cache for one in parts if one.cache), None)

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        """The type and shape of an image, or of a vector of features."""
        return self.parts[0].kind

    @property
    def damaged(self) -> torch.Tensor:
        """A copy of what is known of damaged classes, bool [classes]."""
        return torch.cat([one.damaged for one in self.parts])

    def count(self, record: int) -> int:
        """Return the number of images of a class."""
        part, own = self.index.owner(record)
        return self.parts[part].count(own)

    def images(self, record: int, which: NDArray[np.integer]) -> Images:
        """Read some images of a class, as `ShardSet.images` does; raise DamageError if it is damaged."""
        part, own = self.index.owner(record)
        return self.parts[part].images(own, which)

    def read_images(self, record: int, which: NDArray[np.integer], out: Iterable[Images]) -> None:
        """Read some images of a class, each into the next array of `out`."""
        part, own = self.index.owner(record)
        self.parts[part].read_images(own, which, out)

    def prefetch(self, wanted: Iterable[Wanted]) -> None:
        """Fetch images that will be read next, of each set that is remote and read by ranges."""
        if not self.is_lasting:
            for part, needed in self._of_parts(wanted).items():
                self.parts[part].prefetch(needed)

    @property
    def is_lasting(self) -> bool:
        """True if no set is read by ranges."""
        return all(part.is_lasting for part in self.parts)

    def for_fetching(self) -> "JoinedSet | None":
        """Return these sets for `fetch` in another thread; None if none of them keeps copies."""
        twins = [part.for_fetching() for part in self.parts]
        if not any(twins):
            return None
        joined = JoinedSet(self.parts)
        joined._fetched = dict(enumerate(twins))
        return joined

    def fetch(self, wanted: Iterable[Wanted]) -> None:
        """Fetch images into the cache that are not there yet, of each set that keeps copies."""
        for part, needed in self._of_parts(wanted).items():
            if twin := self._fetched.get(part):
                twin.fetch(needed)

    def _of_parts(self, wanted: Iterable[Wanted]) -> dict[int, list[Wanted]]:
        """Return what is wanted of each set, with the numbers that classes have there."""
        of_part: dict[int, list[Wanted]] = {}
        for record, which in wanted:
            part, own = self.index.owner(record)
            of_part.setdefault(part, []).append((own, which))
        return of_part

    def forget(self, record: int) -> None:
        """Mark a class as damaged."""
        part, own = self.index.owner(record)
        self.parts[part].forget(own)

    def report(self) -> str | None:
        """Return a line about the skipped classes of each set that has some; None if none has."""
        return "; ".join(filter(None, (one.report() for one in self.parts))) or None
