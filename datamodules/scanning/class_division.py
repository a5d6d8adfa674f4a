"""The classes of an index: which are kept, and which split and group each belongs to."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute
from numpy.typing import NDArray

from datamodules.index.class_names import folded
from datamodules.scanning.image_lists import csv_columns, read_csv
from datamodules.scanning.scanned import ClassKey, check_name
from datamodules.sources.class_splits import SPLITS, divide
from lightning_meta.core import InputError

pc: Any = pyarrow.compute  # its functions are made at run time
LEAST = 2  # images of a class, for support and query
SHOWN = 5


class Division(NamedTuple):
    """The user's choices about classes; see `datamodules.scanning.index_sources.index_sources`."""

    split: Path | None
    group: Path | None
    fractions: tuple[float, float, float]
    seed: int
    min_images: int | None
    only_listed: bool
    shared_classes: bool


class Divided(NamedTuple):
    """The classes that are kept.

    keys: their names, splits and groups, sorted by name.
    number: for each of the classes before, its number now, or -1 if it was dropped; int64.
    notes: lines about classes that were dropped.
    """

    keys: list[ClassKey]
    number: NDArray[np.int64]
    notes: tuple[str, ...]

    @property
    def splits(self) -> dict[str, list[int]]:
        """The class numbers of each split, train, val and test first."""
        splits: dict[str, list[int]] = {}
        for number, key in enumerate(self.keys):
            splits.setdefault(key.split, []).append(number)
        order = ["train", "val", "test"]
        return {
            name: splits[name]
            for name in sorted(splits, key=lambda name: (order.index(name) if name in order else 3, name))
        }


def divide_classes(keys: Sequence[ClassKey], counts: NDArray[np.int64], choices: Division) -> Divided:
    """Settle which classes are kept, and the split and group of each.

    Args:
        keys: The classes as the sources name them, sorted.
        counts: The number of images of each.
        choices: The user's choices.

    Raises:
        InputError: If a class has too few images, is in no split, or is in two splits or groups, or if two names differ only in
            letter case or Unicode form.
    """
    notes = list[str]()
    settled = list(keys)
    if choices.split:
        listed = read_pairs(choices.split, "split")
        settled = [key._replace(split=listed.get(key.label, "")) for key in settled]
        settled = _listed(settled, listed, choices, notes)
    if choices.group:
        groups = read_pairs(choices.group, "group")
        settled = [key and key._replace(group=groups.get(key.label, "")) for key in settled]
    merged, number = _merged(settled)
    total = np.bincount(number[number >= 0], counts[number >= 0], len(merged)).astype(np.int64)
    _check_groups(merged, choices)
    merged, number = _large_enough(merged, number, total, choices.min_images, notes)
    if not choices.shared_classes:
        _check_names(merged)
    return Divided(_in_splits(merged, choices), number, tuple(notes))


def read_pairs(path: Path, column: str) -> dict[str, str]:
    """Return the second column of a CSV list for each class in its column `class`; raise InputError if a class has two."""
    names = csv_columns(path)
    if "class" not in names or column not in names:
        raise InputError(
            f"{path} has the columns {', '.join(names)}: name two of them `class` and `{column}` in its first line"
        )
    table = read_csv(path, ["class", column])
    texts = (pc.utf8_trim_whitespace(table[name]).to_pylist() for name in ("class", column))
    pairs: dict[str, str] = {}
    for name, value in zip(*texts, strict=True):
        if pairs.setdefault(name, value) != value:
            raise InputError(
                f"{path} gives class {name} two values of {column}, {pairs[name]!r} and {value!r}: keep one"
            )
        if value:
            check_name(value, str(path))
    return pairs


def some(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _listed(keys: list[ClassKey], listed: dict[str, str], choices: Division, notes: list[str]) -> list[ClassKey | None]:
    """Return the classes that the list of splits names, and None in place of those that it leaves out."""
    unlisted = sorted({key.label for key in keys if key.label not in listed})
    if unlisted and not choices.only_listed:
        raise InputError(
            f"{choices.split} does not list {len(unlisted)} of the classes ({some(unlisted)}): add them, with an empty split to"
            " leave them out, or leave out all that it does not list with --only_listed true"
        )
    out = sorted({key.label for key in keys if not key.split})
    absent = sorted({name for name, split in listed.items() if split} - {key.label for key in keys})
    if out:
        notes.append(f"left out, as {choices.split} says: {len(out)} classes ({some(out)})")
    if absent:
        notes.append(f"{len(absent)} classes that {choices.split} lists have no images here ({some(absent)})")
    return [key if key.split else None for key in keys]


def _merged(keys: Sequence[ClassKey | None]) -> tuple[list[ClassKey], NDArray[np.int64]]:
    """Return the distinct classes, sorted, and the number of each key among them, -1 for None."""
    distinct = sorted({key for key in keys if key})
    numbers = {key: number for number, key in enumerate(distinct)}
    return distinct, np.array([numbers[key] if key else -1 for key in keys], np.int64)


def _large_enough(
    keys: list[ClassKey], number: NDArray[np.int64], counts: NDArray[np.int64], least: int | None, notes: list[str]
) -> tuple[list[ClassKey], NDArray[np.int64]]:
    """Drop classes with too few images, if that is asked for, or raise InputError."""
    small = np.flatnonzero(counts < (least or LEAST)).tolist()
    if small and least is None:
        named = some([f"{keys[i].label} has {counts[i]}" for i in small])
        raise InputError(
            f"{len(small)} classes have fewer than {LEAST} images, and a task takes {LEAST} or more, for support and query"
            f" ({named}): add some, or leave such classes out with --min_images {LEAST}"
        )
    if small:
        notes.append(
            f"dropped, with fewer than {least} images: {len(small)} classes ({some([keys[i].label for i in small])})"
        )
    kept = counts >= (least or LEAST)
    renumbered = np.where(kept, np.cumsum(kept) - 1, -1)
    return [key for key, keep in zip(keys, kept.tolist(), strict=True) if keep], np.where(
        number < 0, -1, renumbered[number]
    )


def _check_groups(keys: Sequence[ClassKey], choices: Division) -> None:
    """Raise InputError if a class is in two groups, or in none while others are in one."""
    group_of: dict[tuple[str, str], str] = {}
    for key in keys:
        if group_of.setdefault((key.label, key.split), key.group) != key.group:
            both = f"{group_of[key.label, key.split]!r} and {key.group!r}"
            raise InputError(f"class {key.label} is in two groups, {both}: give each class one group, see --group")
    without = [key.label for key in keys if not key.group]
    if without and len(without) < len(keys):
        raise InputError(
            f"{len(without)} classes have no group ({some(without)}): add them to {choices.group or 'the sources'}"
        )


def _check_names(keys: Sequence[ClassKey]) -> None:
    """Raise InputError if two classes have the same name, apart from letter case and Unicode form."""
    alike: dict[str, list[ClassKey]] = {}
    for key in keys:
        alike.setdefault(folded(key.label), []).append(key)
    twice = [group for group in alike.values() if len(group) > 1]
    if not twice:
        return
    remedy = "merge or remove them, rename those that are different classes, or give --shared_classes true"
    named = ", ".join(f"{key.label} in {key.split}" if key.split else key.label for key in twice[0])
    more = ", ..." if len(twice) > 1 else ""
    if len({key.label for key in twice[0]}) == 1:
        raise InputError(
            f"{len(twice)} classes are in more than one of train, val and test ({named}{more}), so that the test would use"
            f" classes of the training: {remedy}, or divide them by --split FILE.csv"
        )
    raise InputError(
        f"classes differ only in upper and lower case or in Unicode form ({named}{more}), so that the test might use"
        f" classes of the training: {remedy}"
    )


def _in_splits(keys: list[ClassKey], choices: Division) -> list[ClassKey]:
    """Return the classes with their splits: as they are divided, or at random by the seed."""
    without = [key.label for key in keys if not key.split]
    if len(without) < len(keys):
        if without:
            raise InputError(
                f"{len(without)} classes are in no split, and others are ({some(without)}): divide all by --split FILE.csv"
            )
        _check_sizes(keys)
        return keys
    parts = divide(range(len(keys)), choices.fractions, choices.seed)
    split_of = {number: split for split, numbers in parts.items() for number in numbers}
    return [key._replace(split=split_of[number]) for number, key in enumerate(keys)]


def _check_sizes(keys: Sequence[ClassKey]) -> None:
    """Raise InputError if one of the splits of a run has a single class."""
    sizes = Counter(key.split for key in keys)
    for split in SPLITS:
        if sizes[split] == 1:
            raise InputError(f"split {split} has 1 class; a split needs two or more: add classes to it")
