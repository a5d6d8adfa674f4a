"""The scans of all units, brought together: the same whatever the order in which the sources are named."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from datamodules.index.contents import Blobs
from datamodules.index.header import Root
from datamodules.scanning.folder_names import name_folders
from datamodules.scanning.label_rules import FOLDERS
from datamodules.scanning.roots import Place, split_place
from datamodules.scanning.scanned import ClassKey, Passed, Scanned, add_up
from datamodules.scanning.units import Unit

pc: Any = pyarrow.compute  # its functions are made at run time
Numbers = NDArray[np.int64]


class Together(NamedTuple):
    """All images, with the sources in order, and the images in the order of sources and places.

    classes: the distinct classes, sorted.
    number: for each image its number in `classes`.
    blobs: where the images lie.
    paths: the paths of the sources below their roots, as UTF-8.
    lengths: the lengths of the sources in bytes.
    root: for each source the number of its root.
    roots: the roots.
    passed: what was passed over.
    """

    classes: list[ClassKey]
    number: Numbers
    blobs: Blobs
    paths: pa.LargeBinaryArray
    lengths: NDArray[np.uint64]
    root: NDArray[np.uint8]
    roots: list[Root]
    passed: dict[str, Passed]


def combine(units: Sequence[Unit], folder: Path, places: Sequence[Place], given: str) -> Together:
    """Read what was kept of every unit and bring it together.

    Args:
        units: The units, all of them scanned.
        folder: The folder of what is kept.
        places: The roots that they lie below.
        given: The rule for labels that the user gave, or an empty text.

    Raises:
        InputError: If the folders in tars do not tell the classes.
    """
    scans = [Scanned.load(folder / f"{unit.key()}.npz") for unit in units]
    keys = _keys(units, scans, given)
    roots = sorted({_root(unit, places)[0] for unit in units})
    classes = sorted({key for own in keys for key in own})
    number_of = {key: number for number, key in enumerate(classes)}
    numbers, sources, columns, paths, lengths, root = [], [], [], [], [], []
    count = 0
    for unit, scan, own in zip(units, scans, keys, strict=True):
        numbers.append(np.array([number_of[key] for key in own], np.int64)[scan.number])
        of, prefix = _root(unit, places)
        if unit.format == "images":
            files, beginning = unit.files(), os.fsencode(f"{prefix}/" if prefix else "")
            paths.append(pa.array([beginning + files[i] for i in scan.offset.tolist()], pa.large_binary()))
            sources.append(count + np.arange(len(scan.offset)))
            lengths.append(scan.bytes)
            columns.append((np.zeros(len(scan.offset), np.uint64), scan.bytes, scan.crc32))
        else:
            paths.append(pa.array([os.fsencode(prefix)], pa.large_binary()))
            sources.append(np.full(len(scan.number), count))
            lengths.append(np.array([unit.amount], np.uint64))
            columns.append((scan.offset, scan.bytes, scan.crc32))
        root.append(np.full(len(paths[-1]), roots.index(of), np.uint8))
        count += len(paths[-1])
    blobs = Blobs(np.concatenate(sources), *(np.concatenate(column) for column in zip(*columns, strict=True)))
    passed = add_up(scan.passed for scan in scans)
    together = Together(
        *(classes, np.concatenate(numbers), blobs, pa.concat_arrays(paths), np.concatenate(lengths)),
        *(np.concatenate(root), roots, passed),
    )
    return _in_order(together)


def _in_order(together: Together) -> Together:
    """Sort the sources by root and path, leave out those without images, and sort the images by source and place."""
    table = pa.table({"root": together.root, "path": together.paths})
    order = pc.sort_indices(table, [("root", "ascending"), ("path", "ascending")]).to_numpy().astype(np.int64)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    used, source = np.unique(rank[together.blobs.source], return_inverse=True)
    sources = order[used]
    blobs = together.blobs._replace(source=source)
    images = np.lexsort((blobs.offset, blobs.source))
    return together._replace(
        number=together.number[images],
        blobs=blobs.take(images),
        paths=together.paths.take(pa.array(sources)),
        lengths=together.lengths[sources],
        root=together.root[sources],
    )


def _keys(units: Sequence[Unit], scans: Sequence[Scanned], given: str) -> list[list[ClassKey]]:
    """Return the classes of each unit, where the folders in tars have become names."""
    by_folder = [unit.format == "tar" and unit.rules.label in FOLDERS for unit in units]
    folders = {key.label for scan, is_folder in zip(scans, by_folder, strict=True) if is_folder for key in scan.classes}
    names = name_folders(folders, given)
    return [
        [key._replace(label=names[key.label].label, split=names[key.label].split) for key in scan.classes]
        if is_folder
        else scan.classes
        for scan, is_folder in zip(scans, by_folder, strict=True)
    ]


def _root(unit: Unit, places: Sequence[Place]) -> tuple[Root, str]:
    """Return the root of a unit, and the path of the unit below it; empty for a folder that is a root."""
    place = f"{unit.place}/" if unit.format == "images" else unit.place
    number, path = split_place(place, places)
    if unit.format == "parquet":
        return Root(places[number].name, "parquet", unit.rules.image), path
    return Root(places[number].name), path.rstrip("/")
