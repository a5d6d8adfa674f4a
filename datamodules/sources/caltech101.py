"""Caltech-101: Li Fei-Fei, Rob Fergus, Pietro Perona. Learning Generative Visual Models from Few Training Examples. 2004.

Photographs of objects of 101 categories, 31 to 800 each. Published by CaltechDATA (doi 10.22002/D1.20086) under CC BY 4.0:
whoever passes pictures on names the authors.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from datamodules.reading.preprocess import Preprocess
from datamodules.sources.class_splits import divide, read_split_file
from datamodules.sources.download import download_file
from datamodules.sources.duplicates import Duplicates, image_digest
from datamodules.sources.picture_archive import Pictures, open_archive
from datamodules.writing.shards import ClassImages, check_out, write_shards
from datamodules.writing.written_set import WrittenSet
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least

OFFICIAL = "https://data.caltech.edu/records/mzrjq-6wc02/files"
WHOLE, CHECKSUM = "caltech-101.zip", "md5:3138e1922a9193bfa496528edbbc45d0"
ARCHIVES = (WHOLE, "101_ObjectCategories.tar.gz", "images.zip")
"""Files that the pictures are read from, the first that is there: the official archive, the archive of the pictures inside
it, or any zip file of CLASS/NAME.jpg."""
LEFT_OUT = {
    "BACKGROUND_Google": "it is background, not a class",
    "Faces_easy": "it has the same photographs as Faces, cut out",
}
LICENCE = "Caltech-101 (Li, Andreeto, Ranzato, Perona 2022, doi 10.22002/D1.20086) is under CC BY 4.0: name its authors"


def write_caltech101(
    out: Path = Path("shards/caltech101"),
    data: str | None = None,
    download: bool = False,
    size: int = 84,
    encoded: bool = False,
    split: Path | None = None,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    seed: int = 0,
) -> WrittenSet:
    """Write Caltech-101, photographs of objects of about 100 classes, under CC BY 4.0.

    BACKGROUND_Google is not a class, and Faces_easy has the same photographs as Faces: both are left out.

    Args:
        out: Folder to write.
        data: Folder with caltech-101.zip, 101_ObjectCategories.tar.gz or images.zip; by default caltech101/ in the folder
            that LIGHTNING_META_DATA names.
        download: Fetch the official archive (137 MB) if none is there, and verify its checksum.
        size: Side of the square that photographs are fitted to, in pixels.
        encoded: Keep the JPEG files unchanged and decode them when they are read: smaller shards, slower episodes.
        split: CSV file with the columns class and split; by default the classes are divided at random.
        fractions: Shares of the classes for train, val and test, if they are divided at random.
        seed: Seed of the random division.

    Returns:
        The written set, with notes about the licence, what was left out, and images that occur twice.

    Raises:
        InputError: If no archive is there, it is damaged, or a class is in no split.
    """
    check_at_least(0, seed=seed)
    preprocess = Preprocess(size, 3).check()
    check_out(out)
    with open_archive(find_archive(data, download)) as pictures:
        names = sorted(set(pictures.classes) - set(LEFT_OUT))
        if len(names) < 6:
            raise InputError(f"{pictures.path} has {len(names)} classes of pictures: give the whole archive")
        split_of = read_split_file(split, names) if split else _divided(names, fractions, seed)
        duplicates = Duplicates(shared_classes=True)
        index = write_shards(
            out, "caltech101", preprocess, photograph_classes(pictures, split_of, preprocess, encoded, duplicates)
        )
        notes = [f"{name} was left out: {reason}" for name, reason in LEFT_OUT.items() if name in pictures.classes]
    notes.append(
        f"the classes were divided by {split}" if split else f"the classes were divided at random, seed {seed}"
    )
    if line := duplicates.report():
        notes.append(line)
    return WrittenSet(out, index, (*notes, LICENCE))


def find_archive(data: str | None, download: bool) -> Path:
    """Return the archive of the photographs.

    Args:
        data: Folder of the archive; by default `caltech101` in the folder that LIGHTNING_META_DATA names.
        download: Fetch the official archive if none is there, and verify its checksum.

    Raises:
        InputError: If none is there, it cannot be fetched, or it has another checksum.
    """
    folder = Path(data) if data else Path(os.environ.get("LIGHTNING_META_DATA", "data")) / "caltech101"
    found = [folder / name for name in ARCHIVES if (folder / name).is_file()]
    if not found and not download:
        raise InputError(
            f"Caltech-101 is not in {folder}: none of {', '.join(ARCHIVES)} is there. Set LIGHTNING_META_DATA to the folder"
            " that holds caltech101/, or add --download true to fetch the official archive (137 MB, CC BY 4.0)"
        )
    if not found:
        download_file(f"{OFFICIAL}/{WHOLE}?download=1", CHECKSUM, folder / WHOLE)
        found = [folder / WHOLE]
    return found[0]


def photograph_classes(
    pictures: Pictures, split_of: dict[str, str], preprocess: Preprocess, encoded: bool, duplicates: Duplicates
) -> Iterator[ClassImages]:
    """Read the classes that are in a split, one by one.

    Args:
        pictures: The open archive.
        split_of: The split of each class.
        preprocess: How photographs become arrays of the final size.
        encoded: Keep the JPEG files unchanged.
        duplicates: Counts the images that occur twice.
    """
    wanted = {name: paths for name, paths in pictures.classes.items() if name in split_of}
    for name, paths in track(wanted.items(), "classes"):
        files, arrays = [], []
        for path in paths:
            data = pictures.read(path)
            array = preprocess(data, f"{path} in {pictures.path}")  # also a test of a file that is kept encoded
            files.append((Path(path).suffix.lower(), data))
            arrays.append(array)
            duplicates.add(Path(path), image_digest(data))
        duplicates.end_class(split_of[name], Path(name))
        yield ClassImages(
            name, split_of[name], files if encoded else np.stack(arrays), f"{pictures.path.name}, CC BY 4.0"
        )


def _divided(names: list[str], fractions: tuple[float, float, float], seed: int) -> dict[str, str]:
    return {name: split for split, part in divide(names, fractions, seed).items() for name in part}
