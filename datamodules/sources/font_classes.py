"""The characters of a library of fonts as classes of pictures."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from datamodules.sources.characters import SPLITS, block_of, split_of
from datamodules.sources.drawing import Drawn, draw_as_arrays, from_arrays
from datamodules.sources.font_files import INSTALL, Library
from datamodules.sources.font_licences import LICENCES
from datamodules.writing.chunks import in_chunks
from datamodules.writing.shards import ClassImages
from lightning_meta.core import InputError

CHUNK = 32  # characters that a process draws at a time
LEAST = 2  # classes of a split


class FontClasses:
    """The characters of a library of fonts, drawn one after another. Iterate once.

    Args:
        library: The typefaces and their characters.
        examples: Least number of pictures of a character; those with fewer are left out.
        distance: Least distance between two pictures of a character (`datamodules.sources.drawing.ink_distance`).
        size: Side of the pictures, in pixels.
        fractions: Shares of the characters for train, val and test.
        seed: Seed of the split.
        processes: Processes that draw; by default one for each core.
        folder: Where pictures are kept.

    Attributes:
        pictures_of: The number of pictures that each typeface gave.
        dropped: The number of pictures that were left out, by reason.
        few: The number of characters that have fewer pictures than `examples`.
        alike: The number of characters that were left out since at least half of their pictures are the same, bit by bit, as
            those of one earlier character.

    Raises:
        InputError: If there are too few characters for three splits, before anything is drawn or at the end.
    """

    def __init__(
        self,
        library: Library,
        examples: int,
        distance: float,
        size: int,
        fractions: tuple[float, float, float],
        seed: int,
        processes: int | None,
        folder: Path,
    ):
        self.library, self.examples, self.distance, self.size = library, examples, distance, size
        self.fractions, self.seed, self.processes, self.folder = fractions, seed, processes, folder
        self.pictures_of, self.dropped, self.splits = Counter[int](), Counter[str](), Counter[str]()
        self.enough = np.flatnonzero(library.counts() >= examples)
        self.few, self.alike = len(library.codes) - len(self.enough), 0
        self._first: dict[int, int] = {}  # by the digest of a picture, the first character that it was drawn for
        self._check(Counter(split_of(code, fractions, seed) for code in library.codes[self.enough].tolist()))

    def __iter__(self) -> Iterator[ClassImages]:
        chunks = [self._chunk(self.enough[first : first + CHUNK]) for first in range(0, len(self.enough), CHUNK)]
        faces = [(face.path, face.number) for face in self.library.typefaces]
        draw = partial(draw_as_arrays, typefaces=faces, size=self.size, distance=self.distance)
        for arrays in in_chunks(draw, chunks, [""] * len(chunks), self.folder, self.processes):
            for character in from_arrays(arrays):
                self.dropped["empty or not to be drawn"] += character.missing
                self.dropped["nearly the same as one of another typeface"] += character.near
                if len(character.pictures) < self.examples:
                    self.few += 1
                elif self._is_alike(character):
                    self.alike += 1
                else:
                    self.pictures_of.update(character.typefaces)
                    split = split_of(character.code, self.fractions, self.seed)
                    self.splits[split] += 1
                    yield ClassImages(
                        name=f"U+{character.code:04X}",
                        split=split,
                        images=character.pictures[:, None],
                        source=LICENCES,
                        group=block_of(character.code),
                    )
        self._check(self.splits)

    def notes(self) -> list[str]:
        """Return lines about the pictures and characters that were left out."""
        parts = [f"{count} {reason}" for reason, count in self.dropped.items() if count]
        lines = [f"pictures that were left out: {', '.join(parts)}"] if parts else []
        if self.few:
            lines.append(f"{self.few} characters have fewer than {self.examples} pictures and were left out")
        if self.alike:
            lines.append(f"{self.alike} characters look the same as an earlier one and were left out")
        return lines

    def _chunk(self, places: np.ndarray) -> list[tuple[int, list[int]]]:
        codes, starts, which = self.library.codes, self.library.starts, self.library.which
        return [(int(codes[i]), which[starts[i] : starts[i + 1]].tolist()) for i in places.tolist()]

    def _is_alike(self, character: Drawn) -> bool:
        """Return whether half of the pictures are the same, bit by bit, as those of one earlier character."""
        digests = [
            int.from_bytes(blake2b(picture.tobytes(), digest_size=8).digest(), "big") for picture in character.pictures
        ]
        before = Counter(self._first[digest] for digest in digests if digest in self._first)
        if before and 2 * max(before.values()) >= len(digests):
            return True
        for digest in digests:
            self._first.setdefault(digest, character.code)
        return False

    def _check(self, splits: Counter[str]) -> None:
        """Raise InputError if a split has less than two of the characters that are counted by split."""
        if short := [split for split in SPLITS if splits[split] < LEAST]:
            raise InputError(
                f"{splits.total()} characters have {self.examples} pictures or more in these fonts, which leaves"
                f" {splits[short[0]]} for {short[0]}: ask for fewer --examples or a smaller --distance, or install more fonts,"
                f" on Debian and Ubuntu with {INSTALL}"
            )
