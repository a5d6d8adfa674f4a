"""The class folders of a user's images, divided into train, val and test."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from datamodules.index.class_names import folded
from datamodules.reading.image_files import beside, class_folders
from lightning_meta.core import InputError

SPLITS = ("train", "val", "test")
Item = TypeVar("Item")


def split_classes(
    images: Path, fractions: tuple[float, float, float], seed: int, shared_classes: bool = False
) -> dict[str, list[Path]]:
    """Return the class folders by split.

    If `images` holds folders `train`, `val` and `test`, their sub-folders are the classes of each split. Otherwise its
    sub-folders are the classes, which are divided at random. Every split gets at least two classes.

    Args:
        images: The folder of images.
        fractions: Shares of the classes for train, val and test, which sum to 1.
        seed: Seed of the division.
        shared_classes: Allow two classes of the same name.

    Raises:
        InputError: If there are too few classes, or two have the same name and `shared_classes` is false.
    """
    splits = list_classes(images)
    if "" in splits:
        splits = divide(splits[""], fractions, seed)
    if not shared_classes:
        _check_names(splits)
    return splits


def list_classes(images: Path, least: int = 6) -> dict[str, list[Path]]:
    """Return the class folders by split; if the folder is not divided, all under an empty name.

    Args:
        images: The folder of images.
        least: The smallest number of classes that it must hold; each of the folders train, val and test holds two or more,
            or `least` if that is fewer.

    Raises:
        InputError: If there are too few classes, or one or two of the folders train, val and test.
    """
    ready = [folder.name for folder in class_folders(images) if folder.name in SPLITS]
    if not ready:
        return {"": _classes(images, least)}
    if len(ready) < len(SPLITS):
        raise InputError(f"{images} holds {', '.join(ready)}, but not all of train, val and test: add what is missing")
    return {split: _classes(images / split, min(least, 2)) for split in SPLITS}


def outside_classes(images: Path, splits: dict[str, list[Path]]) -> list[str]:
    """Return the names of files and folders that belong to no class, relative to `images`."""
    taken = [folder for folders in splits.values() for folder in folders]
    if taken[0].parent == images:
        return beside(images, taken)
    within = [f"{split}/{name}" for split in SPLITS for name in beside(images / split, taken)]
    return beside(images, [images / split for split in SPLITS]) + within


def divide(items: Sequence[Item], fractions: tuple[float, float, float], seed: int) -> dict[str, list[Item]]:
    """Divide items into train, val and test at random, two or more into each, in the order in which they come.

    Args:
        items: The items, in an order that does not depend on chance.
        fractions: Shares of the items for train, val and test, which sum to 1.
        seed: Seed of the division.

    Raises:
        InputError: If there are fewer than six items, or the fractions are not shares.
    """
    check_fractions(fractions)
    count = len(items)
    if count < 6:
        raise InputError(f"there are {count} classes; a split needs two or more, and all three six: add some")
    train = np.clip(round(fractions[0] * count), 2, count - 4)
    val = np.clip(round((fractions[0] + fractions[1]) * count), train + 2, count - 2)
    parts = np.split(np.random.default_rng(seed).permutation(count), [train, val])
    return {split: [items[i] for i in sorted(part.tolist())] for split, part in zip(SPLITS, parts, strict=True)}


def read_split_file(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the split of each class, from a CSV file with the columns class and split.

    Args:
        path: The file.
        names: The names of the classes. Others may be in the file too.

    Raises:
        InputError: If the file cannot be read, has other columns or splits, or lacks a class or names it twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path} ({error}): give a CSV file with the columns class and split") from error
    split_of: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        name, split = row.get("class"), row.get("split")
        if name is None or split not in SPLITS:
            raise InputError(
                f"{path}, line {number}: give the columns class and split, the split one of {', '.join(SPLITS)}"
            )
        if split_of.setdefault(name, split) != split:
            raise InputError(
                f"{path}, line {number}: class {name} is in {split_of[name]} and {split}: give one of them"
            )
    if missing := [name for name in names if name not in split_of]:
        raise InputError(f"{path} has no split for {len(missing)} classes, such as {missing[0]}: add them")
    if empty := [split for split in SPLITS if sum(split_of[name] == split for name in names) < 2]:
        raise InputError(f"{path} gives {empty[0]} fewer than two classes: give every split two or more")
    return {name: split_of[name] for name in names}


def check_fractions(fractions: tuple[float, float, float]) -> None:
    """Raise InputError if the shares of the classes for train, val and test are not positive or do not sum to 1."""
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions {fractions}: give three positive numbers that sum to 1, for train, val and test")


def _classes(folder: Path, least: int) -> list[Path]:
    folders = class_folders(folder)
    if len(folders) < least:
        raise InputError(
            f"{folder} has {len(folders)} class folders; a split needs two or more, and all three six: put the images of each"
            " class in a sub-folder of its own"
        )
    return folders


def _check_names(splits: dict[str, list[Path]]) -> None:
    """Raise InputError if two class folders have the same name, apart from letter case and Unicode form."""
    groups: dict[str, list[Path]] = {}
    for folder in [folder for folders in splits.values() for folder in folders]:
        groups.setdefault(folded(folder.name), []).append(folder)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return
    if len({folder.name for folder in alike[0]}) == 1:
        what = f"{len(alike)} classes are in more than one of train, val and test"
    else:
        what = "class folders differ only in upper and lower case or in Unicode form"
    raise InputError(
        f"{what} ({', '.join(map(str, alike[0]))}{', ...' if len(alike) > 1 else ''}), so that the test would use classes"
        " of the training: merge or remove them, rename those that are different classes, or give --shared_classes true"
    )
