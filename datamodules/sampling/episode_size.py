"""The size of an episode."""

from typing import NamedTuple

import numpy as np

from lightning_meta.core import InputError

Range = int | tuple[int, int]  # a number, or the first and last number of a range to draw from, both included


class EpisodeSize(NamedTuple):
    """The size of an episode: ways, and shots and queries per class.

    A range is drawn anew for every meta-batch, so that all its episodes have one size and form one tensor.
    """

    ways: Range
    shots: Range
    queries: Range

    def check(self) -> None:
        """Raise InputError if a number is below 1 or a range ends before it begins."""
        for name, value in self._asdict().items():
            low, high = (value, value) if isinstance(value, int) else value
            if not 1 <= low <= high:
                raise InputError(f"{name} is {value}: give a number of 1 or more, or [first, last] with first <= last")

    def replaced(self, ways: Range | None, shots: Range | None, queries: Range | None) -> "EpisodeSize":
        """Return this size with the given parts in place of its own; None keeps a part."""
        given = {"ways": ways, "shots": shots, "queries": queries}
        return self._replace(**{name: value for name, value in given.items() if value is not None})

    def smallest(self) -> tuple[int, int, int]:
        """Return the smallest ways, shots and queries that can be drawn."""
        ways, shots, queries = (value if isinstance(value, int) else value[0] for value in self)
        return ways, shots, queries

    def largest(self) -> tuple[int, int, int]:
        """Return the largest ways, shots and queries that can be drawn."""
        ways, shots, queries = (value if isinstance(value, int) else value[1] for value in self)
        return ways, shots, queries

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draw ways, shots and queries, uniformly from each range."""
        ways, shots, queries = (v if isinstance(v, int) else int(rng.integers(v[0], v[1] + 1)) for v in self)
        return ways, shots, queries
