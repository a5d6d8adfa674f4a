"""Detection of images that occur twice, byte for byte, and of a class that is in two splits under two names."""

from collections import Counter
from hashlib import blake2b
from pathlib import Path

from lightning_meta.core import InputError


def image_digest(data: bytes) -> bytes:
    """Return 12 bytes by which another file with the same bytes is known."""
    return blake2b(data, digest_size=12).digest()


class Duplicates:
    """A count of images that occur more than once, fed with the images of one class after another.

    Args:
        shared_classes: Allow a class whose images are in a class of another split.
    """

    def __init__(self, shared_classes: bool):
        self.shared_classes = shared_classes
        self.classes: list[tuple[str, Path]] = []  # split and folder of each class that has ended
        self.first: dict[bytes, int] = {}  # by an image's digest, the number of the class in which it first occurred
        self.copies: Counter[str] = Counter()
        self.example = ""
        # Images of the current class, and the class in which each first occurred.
        self._current: list[tuple[Path, int]] = []

    def add(self, path: Path, digest: bytes) -> None:
        """Add an image of the current class, given the `image_digest` of its file."""
        number = len(self.classes)
        if digest in self.first and self.first[digest] == number:
            self.copies["in the same class"] += 1
            self.example = self.example or f"{path}, in its class"
        self._current.append((path, self.first.setdefault(digest, number)))

    def end_class(self, split: str, folder: Path) -> int | None:
        """End the current class and look for its images in earlier ones.

        Args:
            split: The split of the class.
            folder: The folder of the class.

        Returns:
            The number of an earlier class of another split that holds half of the images of this one, or None.

        Raises:
            InputError: If there is one and `shared_classes` is false.
        """
        elsewhere, number = Counter[int](), len(self.classes)
        for path, before in self._current:
            if before < number:
                other_split = self.classes[before][0] != split
                self.copies["in a class of another split" if other_split else "in another class"] += 1
                self.example = self.example or f"{path}, in {self.classes[before][1]}"
                elsewhere[before] += other_split
        count, self._current = len(self._current), []
        self.classes.append((split, folder))
        ((same, images),) = elsewhere.most_common(1) or [(0, 0)]
        if not images or 2 * images < count:
            return None
        if not self.shared_classes:
            raise InputError(
                f"{images} of the {count} images of {folder} are in {self.classes[same][1]} too, byte for byte, so that the"
                " test would use images of the training: remove one of the two, or give --shared_classes true"
            )
        return same

    def report(self) -> str | None:
        """Return a line about how many images are copies of others and where, or None if there are none."""
        if not self.copies:
            return None
        parts = ", ".join(f"{count} {where}" for where, count in self.copies.items())
        return f"{self.copies.total()} images are byte-for-byte copies: {parts} (the first: {self.example})"
