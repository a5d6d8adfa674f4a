"""The contents of an index in memory, and how they are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.index.columns import texts, write_columns
from datamodules.index.header import BLOB, COLUMNS, FILE, KINDS, OWN, SPLIT, FeatureInfo, Header, Root
from datamodules.reading.preprocess import Preprocess

Column = NDArray[Any]


class Sources(NamedTuple):
    """The files that hold images, as columns.

    path: their paths below their roots.
    bytes: their lengths.
    root: the number of the root of each; by default 0.
    sha256: their SHA-256 [sources, 32], if known.
    """

    path: Sequence[str]
    bytes: Column
    root: Column | None = None
    sha256: Column | None = None


class Blobs(NamedTuple):
    """The places of images, as columns with one row per blob, those of a class one after another.

    source: the number of the file.
    offset: where the bytes begin in it; in a parquet file the page of the image and its rank there.
    bytes: the number of bytes.
    crc32: their CRC-32.
    """

    source: Column
    offset: Column
    bytes: Column
    crc32: Column

    def take(self, order: Column) -> "Blobs":
        """Return the blobs with these numbers."""
        return Blobs(*(column[order] for column in self))

    def table(self, images: Column) -> Column:
        """Return the blobs as the column of an index, given the number of images in each."""
        table = np.zeros(len(self.source), BLOB)
        for name, values in {**self._asdict(), "images": images}.items():
            table[name] = values
        return table


class Classes(NamedTuple):
    """The classes, as columns.

    name: their names.
    count: the number of images of each.
    group: the number of the group of each, if they have groups.
    groups: the names of the groups.
    same: pairs of classes that are one under two names, since one holds at least half of the other's images.
    """

    name: Sequence[str]
    count: Column  # type: ignore[assignment]  # hides a tuple's method of this name, which is not needed
    group: Column | None = None
    groups: Sequence[str] = ()
    same: Sequence[tuple[int, int]] = ()


class Contents(NamedTuple):
    """All that an index says.

    title: name of the set in messages and reports.
    preprocess: how the images were, or are to be, decoded, resized and inverted.
    encoded: whether the blobs are encoded image files and not arrays.
    sources: the files that hold the images.
    blobs: where the images lie, class by class.
    classes: the classes.
    splits: for the name of each split, the numbers of its classes; splits may overlap.
    images_per_blob: number of images in each blob of a class but its last, which may hold fewer.
    features: the kind of features, for a set that holds features in place of images.
    roots: the places that the sources are below.
    """

    title: str
    preprocess: Preprocess
    encoded: bool
    sources: Sources
    blobs: Blobs
    classes: Classes
    splits: Mapping[str, Sequence[int] | Column]
    images_per_blob: int = 1
    features: FeatureInfo | None = None
    roots: tuple[Root, ...] = (OWN,)

    def write(self, folder: Path) -> None:
        """Write `index.json` and the columns into a folder; raise InputError if they could not be read again."""
        sources, blobs, classes = self.sources, self.blobs, self.classes
        count = np.asarray(classes.count, np.int64)
        none = np.zeros(0, "<u4")
        columns: dict[str, Column] = {
            "class_first": _ends(count),
            "class_blob": _ends(-(-count // self.images_per_blob)),
            "class_group": none if classes.group is None else classes.group,
            "blob": blobs.table(images_in_blobs(count, self.images_per_blob)),
            "source_root": np.zeros(len(sources.path)) if sources.root is None else sources.root,
            "source_bytes": sources.bytes,
            "source_sha256": np.zeros((0, 32)) if sources.sha256 is None else sources.sha256,
            "same": np.array(classes.same, "<u4").reshape(-1, 2),
        }
        for name, values in (
            ("class_name", classes.name),
            ("group_name", classes.groups),
            ("source_path", sources.path),
        ):
            columns[f"{name}_end"], columns[name] = texts(list(values))
        for number, members in enumerate(self.splits.values()):
            columns[f"split_{number}"] = np.asarray(members)
        kinds = KINDS | dict.fromkeys((f"split_{number}" for number in range(len(self.splits))), SPLIT)
        # a copy of the blobs would have other bytes between their fields
        typed = {name: columns[name].astype(kind, copy=False) for name, (kind, _) in kinds.items()}
        facts, size, checksums = write_columns(folder / COLUMNS, typed)
        head = (self.title, self.preprocess, self.encoded, self.images_per_blob, self.features, self.roots)
        text = Header(*head, tuple(self.splits), facts, size, checksums).to_json()
        (folder / FILE).write_text(text)


def images_in_blobs(counts: Column, most: int) -> Column:
    """Return the number of images in each blob, given the number in each class and the most per blob."""
    blobs = -(-counts // most)
    images = np.full(int(blobs.sum()), most)
    has_images = counts > 0
    images[np.cumsum(blobs)[has_images] - 1] = counts[has_images] - (blobs[has_images] - 1) * most
    return images


def _ends(counts: Column) -> Column:
    """Return where each of these runs begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)])
