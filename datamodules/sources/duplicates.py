"""Images that are there twice, byte for byte: counted, and a class that is in two splits under two names found."""

from collections import Counter
from hashlib import blake2b
from pathlib import Path

from lightning_meta.core import InputError


class SameImages:
    """Meets the images of one class after another."""

    def __init__(self, shared_classes: bool):
        self.shared_classes = shared_classes
        self.classes: list[tuple[str, Path]] = []  # split and folder of each that ended
        self.first: dict[bytes, int] = {}  # by an image's digest, the number of the class that it was first met in
        self.copies: Counter[str] = Counter()
        self.example = ""
        self._here: list[
            tuple[Path, int]
        ] = []  # images of the present class, and the class that they were first met in

    def meet(self, path: Path, data: bytes) -> None:
        """An image of the present class."""
        digest, number = blake2b(data, digest_size=12).digest(), len(self.classes)
        if digest in self.first and self.first[digest] == number:
            self.copies["in the same class"] += 1
            self.example = self.example or f"{path}, in its class"
        self._here.append((path, self.first.setdefault(digest, number)))

    def end_class(self, split: str, folder: Path) -> int | None:
        """The number of an earlier class of another split that half of this one's images are in, if there is one.

        Raises InputError where there is, without `shared_classes`.
        """
        elsewhere, number = Counter[int](), len(self.classes)
        for path, before in self._here:
            if before < number:
                other_split = self.classes[before][0] != split
                self.copies["in a class of another split" if other_split else "in another class"] += 1
                self.example = self.example or f"{path}, in {self.classes[before][1]}"
                elsewhere[before] += other_split
        count, self._here = len(self._here), []
        self.classes.append((split, folder))
        ((same, images),) = elsewhere.most_common(1) or [(0, 0)]
        if not images or 2 * images < count:
            return None
        if not self.shared_classes:
            raise InputError(
                f"{images} of the {count} images of {folder} are in {self.classes[same][1]} too, byte for byte, so that what is"
                " tested on would have been trained on: remove one of the two, or say --shared_classes true"
            )
        return same

    def report(self) -> str | None:
        """How many images are copies of others, and of which."""
        if not self.copies:
            return None
        parts = ", ".join(f"{count} {where}" for where, count in self.copies.items())
        return f"{self.copies.total()} images are there before, byte for byte: {parts} (the first: {self.example})"
