"""The index of the scanned images: class by class, with what was dropped and what occurs twice."""

import numpy as np
import pyarrow as pa

from datamodules.index.contents import Classes, Contents, Sources
from datamodules.reading.preprocess import Preprocess
from datamodules.scanning.class_division import Division, divide_classes
from datamodules.scanning.combine import Together
from datamodules.scanning.copies import find_copies
from lightning_meta.core import InputError


def index_contents(
    together: Together, choices: Division, title: str, preprocess: Preprocess
) -> tuple[Contents, tuple[str, ...]]:
    """Return the index of all images, class by class, and lines about classes that were dropped and images that occur twice.

    Raises:
        InputError: If there are no images, or the classes cannot be divided.
    """
    if not len(together.number):
        reasons = "; ".join(f"{count} {kind}" for kind, (count, _) in together.passed.items())
        raise InputError(f"no image with a label is in the sources{f' ({reasons})' if reasons else ''}: see --label")
    counts = np.bincount(together.number, minlength=len(together.classes))
    divided = divide_classes(together.classes, counts, choices)
    number = divided.number[together.number]
    order = np.argsort(number, kind="stable")[int((number < 0).sum()) :]
    number, blobs = number[order], together.blobs.take(order)
    used, source = np.unique(blobs.source, return_inverse=True)

    def name_of(image: int) -> str:
        """Return the name of an image in messages."""
        path = together.paths[int(used[source[image]])].as_py().decode("utf-8", "surrogateescape")
        return f"{path} at {blobs.offset[image]}" if blobs.offset[image] else path

    same, line = find_copies(divided.keys, number, blobs, choices.shared_classes, name_of)
    groups = sorted({key.group for key in divided.keys} - {""})
    group_of = {name: i for i, name in enumerate(groups)}
    classes = Classes(
        name=[key.label for key in divided.keys],
        count=np.bincount(number, minlength=len(divided.keys)),
        group=np.array([group_of[key.group] for key in divided.keys], np.int64) if groups else None,
        groups=groups,
        same=same,
    )
    paths = together.paths.take(pa.array(used))
    contents = Contents(
        title,
        preprocess,
        encoded=True,
        sources=Sources(texts_of(paths), together.lengths[used], together.root[used]),
        blobs=blobs._replace(source=source),
        classes=classes,
        splits=divided.splits,
        roots=tuple(together.roots),
    )
    return contents, (*divided.notes, *filter(None, [line]))


def texts_of(paths: pa.LargeBinaryArray) -> list[str]:
    """Return paths as texts; bytes that are not UTF-8 become surrogates, as in the names of files."""
    return [path.decode("utf-8", "surrogateescape") for path in paths.to_pylist()]
