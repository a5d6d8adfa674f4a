"""A user's own images: one sub-folder per class."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from datamodules.reading.image_files import list_images, read_bytes
from datamodules.reading.preprocess import Preprocess
from datamodules.sources.class_splits import outside_classes, split_classes
from datamodules.sources.duplicates import Duplicates
from datamodules.writing.shards import ClassImages, check_out, write_shards
from datamodules.writing.written_set import WrittenSet
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least

SHOWN = 10  # images that could not be decoded and are listed by name


def write_folder(
    images: Path,
    out: Path = Path("shards/images"),
    size: int = 84,
    channels: int = 3,
    invert: bool = False,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    seed: int = 0,
    encoded: bool = False,
    skip: bool = False,
    shared_classes: bool = False,
) -> WrittenSet:
    """Write your own images: one sub-folder per class, with JPEG, PNG or WebP files of any size.

    Args:
        images: The folder; its classes are divided at random, unless it holds folders train, val and test.
        out: Folder to write.
        size: Side of the square that images are fitted to, in pixels.
        channels: 3 for RGB, 1 for grey.
        invert: Store 255 - value, so that dark ink on white paper becomes bright on black.
        fractions: Shares of the classes for train, val and test.
        seed: Seed of the random division.
        encoded: Keep the image files unchanged and decode them when they are read: smaller shards, slower episodes.
        skip: Pass over images that cannot be read or decoded, and count them.
        shared_classes: Allow classes of the same name, or with the same images, in two of train, val and test; reports then
            say how many of the test classes were trained on.

    Returns:
        The written set, with notes about files outside the class folders, skipped images and duplicates.

    Raises:
        InputError: If there are too few classes or images, an image cannot be read, or a class is in two splits.
    """
    check_at_least(0, seed=seed)
    check_out(out)
    splits = split_classes(images, fractions, seed, shared_classes)
    classes = FolderClasses(splits, Preprocess(size, channels, invert), encoded, skip, shared_classes)
    outside = outside_classes(images, splits)
    index = write_shards(out, images.resolve().name, classes.preprocess, classes)
    notes = [f"in no class folder, and passed over: {first_few(outside)}"] if outside else []
    notes += [f"skipped: {message}" for message in classes.skipped[:SHOWN]]
    if classes.skipped:
        notes.append(f"{len(classes.skipped)} images could not be decoded and were skipped")
    if duplicates := classes.duplicates.report():
        notes.append(duplicates)
    return WrittenSet(out, index, tuple(notes))


class FolderClasses:
    """The classes of a folder, read one after another. Iterate once.

    Args:
        splits: The class folders of each split.
        preprocess: How images become arrays of the final size.
        encoded: Keep the image files unchanged, to be decoded and resized when they are read.
        skip: Pass over images that cannot be read or decoded, and list them in `skipped`; otherwise they raise InputError.
        shared_classes: Allow classes with the same images in two splits; otherwise, if half of the images of a class are in
            a class of another split, InputError is raised. `duplicates` counts the images that occur twice.
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
        self.duplicates = Duplicates(shared_classes)

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
                self.duplicates.add(path, data)
                files.append((path.suffix.lower(), data if self.encoded else b""))
            if len(arrays) < 2:
                raise InputError(
                    f"class folder {folder} has {len(arrays)} images that can be decoded, but a task takes 2 or more per class,"
                    " for support and query: add some, or remove the folder"
                )
            images = files if self.encoded else np.stack(arrays)
            yield ClassImages(folder.name, split, images, str(folder), self.duplicates.end_class(split, folder))


def first_few(names: list[str]) -> str:
    """Return the first five names, and the number of the others."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
