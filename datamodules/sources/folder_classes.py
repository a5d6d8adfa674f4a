"""The classes of a folder of images, decoded some at a time in several processes."""

import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.reading.image_files import list_images, read_bytes
from datamodules.reading.preprocess import Preprocess
from datamodules.sources.duplicates import Duplicates, image_digest
from datamodules.writing.chunks import in_chunks
from datamodules.writing.shards import ClassImages
from lightning_meta.core import InputError

IMAGES = 256  # images that a process decodes at a time, about


class FolderClasses:
    """The classes of a folder, one after another. Iterate once.

    Args:
        splits: The class folders of each split.
        preprocess: How images become arrays of the final size.
        encoded: Keep the image files unchanged, to be decoded and resized when they are read.
        skip: Pass over images that cannot be read or decoded, and list them in `skipped`; otherwise they raise InputError.
        shared_classes: Allow classes with the same images in two splits; otherwise, if half of the images of a class are in
            a class of another split, InputError is raised. `duplicates` counts the images that occur twice.
        folder: Where decoded images are kept.
        processes: Processes that decode; by default one for each core.
    """

    def __init__(
        self,
        splits: dict[str, list[Path]],
        preprocess: Preprocess,
        encoded: bool,
        skip: bool,
        shared_classes: bool,
        folder: Path,
        processes: int | None,
    ):
        self.splits, self.encoded, self.folder, self.processes = splits, encoded, folder, processes
        self.read = partial(read_classes, preprocess=preprocess, encoded=encoded, skip=skip)
        self.skipped: list[str] = []
        self.duplicates = Duplicates(shared_classes)

    def __iter__(self) -> Iterator[ClassImages]:
        folders = [(split, folder) for split, folders in self.splits.items() for folder in folders]
        chunks, states = _chunks(folder for _, folder in folders)
        classes = iter(folders)
        for chunk, arrays in zip(
            chunks, in_chunks(self.read, chunks, states, self.folder, self.processes), strict=True
        ):
            for place, _ in enumerate(chunk):
                yield self._class(*next(classes), place, arrays)

    def _class(self, split: str, folder: Path, place: int, arrays: Any) -> ClassImages:
        """Return a class, given its place in the arrays of a chunk."""
        names, skipped = json.loads(arrays[f"{place}.names"].tobytes())
        self.skipped += skipped
        files = list[tuple[str, bytes]]()
        for name, digest in zip(names, arrays[f"{place}.digests"], strict=True):
            path = folder / name
            self.duplicates.add(path, digest.tobytes())
            if self.encoded:
                data = read_bytes(path)
                if image_digest(data) != digest.tobytes():
                    raise InputError(f"{path} changed while it was read: start again when nothing changes it")
                files.append((path.suffix.lower(), data))
        if len(names) < 2:
            raise InputError(
                f"class folder {folder} has {len(names)} images that can be decoded, but a task takes 2 or more per class,"
                " for support and query: add some, or remove the folder"
            )
        images = files if self.encoded else arrays[f"{place}.images"]
        return ClassImages(folder.name, split, images, str(folder), self.duplicates.end_class(split, folder))


def read_classes(folders: list[str], preprocess: Preprocess, encoded: bool, skip: bool) -> dict[str, NDArray[np.uint8]]:
    """Read and decode the images of some class folders.

    Args:
        folders: The folders.
        preprocess: How images become arrays of the final size.
        encoded: Return no images, since files are kept unchanged: they are decoded as a test.
        skip: Pass over images that cannot be read or decoded.

    Returns:
        For folder N, `N.images` uint8 [count, channels, size, size]; `N.digests` uint8 [count, 12], of the files; `N.names`,
        the names of the files below the folder and the errors of images passed over, as JSON.

    Raises:
        InputError: If an image cannot be read or decoded, and `skip` is false.
    """
    arrays = dict[str, NDArray[np.uint8]]()
    for place, folder in enumerate(map(Path, folders)):
        images, digests, names, skipped = [], [], [], []
        for path in list_images(folder):
            try:
                data = read_bytes(path)
                image = preprocess(data, str(path))
            except InputError as error:
                if not skip:
                    raise InputError(f"{error}, or pass over all such images with --skip true") from error
                skipped.append(str(error))
                continue
            if not encoded:
                images.append(image)
            digests.append(np.frombuffer(image_digest(data), np.uint8))
            names.append(str(path.relative_to(folder)))
        if images:
            arrays[f"{place}.images"] = np.stack(images)
        arrays[f"{place}.digests"] = np.stack(digests) if digests else np.zeros((0, 12), np.uint8)
        arrays[f"{place}.names"] = np.frombuffer(json.dumps((names, skipped)).encode(), np.uint8)
    return arrays


def _chunks(folders: Iterable[Path]) -> tuple[list[list[str]], list[list[Any]]]:
    """Return the class folders, some at a time, and the names, lengths and times of their images."""
    chunks, states, count = list[list[str]](), list[list[Any]](), IMAGES
    for folder in folders:
        if count >= IMAGES:
            chunks.append([])
            states.append([])
            count = 0
        images = list_images(folder)
        chunks[-1].append(str(folder))
        states[-1] += [_state(path) for path in images]
        count += len(images)
    return chunks, states


def _state(path: Path) -> tuple[str, int, int]:
    try:
        about = os.stat(path)
    except OSError:  # reading it says what is wrong
        return str(path), -1, -1
    return str(path), about.st_size, about.st_mtime_ns
