"""A user's own images: one sub-folder a class."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from datamodules.index.class_names import folded
from datamodules.reading.image_files import beside, class_folders, list_images, read_bytes
from datamodules.reading.preprocess import Preprocess
from datamodules.sources.duplicates import SameImages
from datamodules.writing.shards import ClassImages
from lightning_meta.core import InputError

SPLITS = ("train", "val", "test")


def split_classes(
    images: Path, fractions: tuple[float, float, float], seed: int, shared_classes: bool = False
) -> dict[str, list[Path]]:
    """Class folders by split: those of ready-made `train`, `val` and `test` folders, else all, divided with a seed.

    Every split gets at least two classes. InputError where there are too few or, without `shared_classes`, where two have
    the same name.
    """
    folders = class_folders(images)
    ready = [folder.name for folder in folders if folder.name in SPLITS]
    if ready:
        if len(ready) < len(SPLITS):
            raise InputError(
                f"{images} holds {', '.join(ready)}, but not all of train, val and test: add what is missing"
            )
        splits = {split: _classes(images / split, least=2) for split in SPLITS}
    else:
        splits = _divided(_classes(images, least=6), fractions, seed)
    if not shared_classes:
        _check_names(splits)
    return splits


def left_out(images: Path, splits: dict[str, list[Path]]) -> list[str]:
    """What lies beside the class folders, and beside ready-made splits, and is in no class."""
    taken = [folder for folders in splits.values() for folder in folders]
    if taken[0].parent == images:
        return beside(images, taken)
    within = [f"{split}/{name}" for split in SPLITS for name in beside(images / split, taken)]
    return beside(images, [images / split for split in SPLITS]) + within


def _divided(folders: list[Path], fractions: tuple[float, float, float], seed: int) -> dict[str, list[Path]]:
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions {fractions}: give three positive numbers that sum to 1, for train, val and test")
    count = len(folders)
    train = np.clip(round(fractions[0] * count), 2, count - 4)
    val = np.clip(round((fractions[0] + fractions[1]) * count), train + 2, count - 2)
    parts = np.split(np.random.default_rng(seed).permutation(count), [train, val])
    return {split: [folders[i] for i in sorted(part)] for split, part in zip(SPLITS, parts, strict=True)}


def _classes(folder: Path, least: int) -> list[Path]:
    found = class_folders(folder)
    if len(found) < least:
        raise InputError(
            f"{folder} has {len(found)} class folders; a split needs two or more, and all three six: put the images of each"
            " class in a sub-folder of its own"
        )
    return found


def _check_names(splits: dict[str, list[Path]]) -> None:
    """InputError where class folders have one name, letters' case and Unicode form aside."""
    groups: dict[str, list[Path]] = {}
    for folder in [folder for folders in splits.values() for folder in folders]:
        groups.setdefault(folded(folder.name), []).append(folder)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return
    if len({folder.name for folder in alike[0]}) == 1:
        what = f"{len(alike)} classes are in more than one of train, val and test"
    else:
        what = "class folders differ in upper and lower case or in Unicode form alone"
    raise InputError(
        f"{what} ({', '.join(map(str, alike[0]))}{', ...' if len(alike) > 1 else ''}), so that what is tested on would have"
        " been trained on: merge or remove them, rename what is another class, or say --shared_classes true"
    )


class FolderClasses:
    """The classes of a folder, read one after another; iterate once.

    `encoded` keeps the files as they are (decoded and resized when read) instead of arrays of the final size.
    `skip` passes over images that cannot be read or decoded and counts them in `skipped`; otherwise they raise InputError.
    `same` tells of images that are there twice. Without `shared_classes`, InputError where half of a class is in another
    split under another name.
    """

    def __init__(
        self,
        splits: dict[str, list[Path]],
        preprocess: Preprocess,
        encoded: bool,
        skip: bool,
        shared_classes: bool = False,
    ):
        self.splits, self.preprocess, self.encoded, self.skip = splits, preprocess.check(), encoded, skip
        self.skipped: list[str] = []
        self.same = SameImages(shared_classes)

    def __iter__(self) -> Iterator[ClassImages]:
        folders = [(split, folder) for split, folders in self.splits.items() for folder in folders]
        for split, folder in track(folders, "classes"):
            arrays, files = [], []
            for path in list_images(folder):
                try:
                    data = read_bytes(path)
                    arrays.append(self.preprocess(data, str(path)))
                except InputError as error:
                    if not self.skip:
                        raise InputError(f"{error}, or pass over all such images with --skip true") from error
                    self.skipped.append(str(error))
                    continue
                self.same.meet(path, data)
                files.append((path.suffix.lower(), data if self.encoded else b""))
            if len(arrays) < 2:
                raise InputError(
                    f"class folder {folder} has {len(arrays)} images that decode, but a task takes 2 or more of each class, for"
                    " support and query: add some, or remove the folder"
                )
            images = files if self.encoded else np.stack(arrays)
            yield ClassImages(folder.name, split, images, str(folder), self.same.end_class(split, folder))
