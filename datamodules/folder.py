"""A user's own images: one sub-folder a class."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from datamodules.preprocess import Preprocess, list_images
from datamodules.write import ClassImages
from lightning_meta.core import InputError

SPLITS = ("train", "val", "test")


def split_classes(images: Path, fractions: tuple[float, float, float], seed: int) -> dict[str, list[Path]]:
    """Class folders by split: those of ready-made `train`, `val` and `test` folders, else all, divided with a seed.

    Every split gets at least two classes. InputError where there are too few.
    """
    if not images.is_dir():
        raise InputError(f"{images} is not a folder: give a folder with one sub-folder of images a class")
    ready = [split for split in SPLITS if (images / split).is_dir()]
    if ready:
        if len(ready) < len(SPLITS):
            raise InputError(
                f"{images} holds {', '.join(ready)}, but not all of train, val and test: add what is missing"
            )
        return {split: _class_folders(images / split, least=2) for split in SPLITS}
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions {fractions}: give three positive numbers that sum to 1, for train, val and test")
    folders = _class_folders(images, least=6)
    count = len(folders)
    train = np.clip(round(fractions[0] * count), 2, count - 4)
    val = np.clip(round((fractions[0] + fractions[1]) * count), train + 2, count - 2)
    parts = np.split(np.random.default_rng(seed).permutation(count), [train, val])
    return {split: [folders[i] for i in sorted(part)] for split, part in zip(SPLITS, parts, strict=True)}


def _class_folders(folder: Path, least: int) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(found) < least:
        raise InputError(
            f"{folder} has {len(found)} class folders; a split needs two or more, and all three six: put the images of each"
            " class in a sub-folder of its own"
        )
    return found


class FolderClasses:
    """The classes of a folder, read one after another; iterate once.

    `encoded` keeps the files as they are (decoded and resized when read) instead of arrays of the final size.
    `skip` passes over images that do not decode and counts them in `skipped`; otherwise they raise InputError.
    """

    def __init__(self, splits: dict[str, list[Path]], preprocess: Preprocess, encoded: bool, skip: bool):
        self.splits, self.preprocess, self.encoded, self.skip = splits, preprocess.check(), encoded, skip
        self.skipped: list[str] = []

    def __iter__(self) -> Iterator[ClassImages]:
        folders = [(split, folder) for split, folders in self.splits.items() for folder in folders]
        for split, folder in track(folders, "classes"):
            arrays, files = [], []
            for path in list_images(folder):
                try:
                    arrays.append(self.preprocess(path))
                except InputError as error:
                    if not self.skip:
                        raise InputError(f"{error}, or pass over all such images with --skip true") from error
                    self.skipped.append(str(error))
                    continue
                files.append((path.suffix.lower(), path.read_bytes()) if self.encoded else ("", b""))
            if len(arrays) < 2:
                raise InputError(
                    f"class folder {folder} has {len(arrays)} images that decode, but a task takes 2 or more of each class, for"
                    " support and query: add some, or remove the folder"
                )
            yield ClassImages(folder.name, split, files if self.encoded else np.stack(arrays), str(folder))
