"""Write a shard set: class records packed into WebDataset shards beside an index, whole or not at all."""

import io
import json
import math
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from webdataset.writer import TarWriter

from datamodules.index.contents import Classes, Contents
from datamodules.index.opening import read_index
from datamodules.index.shard_index import Index
from datamodules.reading.preprocess import Preprocess
from datamodules.writing.scan import Member, scan
from datamodules.writing.task_file import write_task_file
from lightning_meta.core import InputError
from lightning_meta.core.files import check_writable, storage_errors, whole

CHUNK = 2**20  # bytes of an array, so that no class has to be in memory as a whole
CHECKED = 2**15  # bytes of an array that have one checksum together, so that little else is read with an image


class ClassImages(NamedTuple):
    """A class to write.

    name: name of the class.
    split: the split that it belongs to, such as `train`, `val` or `test`.
    images: uint8 [count, channels, size, size], or encoded files as pairs (ending, bytes), such as (".jpg", b"...").
    source: where the images come from, kept beside them in the shard.
    same_as: number of an earlier class that holds the same images under another name, counted from 0.
    group: what the class belongs to, such as the alphabet of a character; empty if the classes have no groups.
    """

    name: str
    split: str
    images: NDArray[np.uint8] | list[tuple[str, bytes]]
    source: str = ""
    same_as: int | None = None
    group: str = ""


def write_shards(
    out: Path,
    title: str,
    preprocess: Preprocess,
    classes: Iterable[ClassImages],
    extra_splits: dict[str, set[str]] | None = None,
    shard_megabytes: float = 64.0,
    texts: Callable[[], dict[str, str]] = dict,
) -> Index:
    """Write classes of images to a folder of WebDataset shards, with an index and a task file.

    Every split gets shards of its own, closed once they pass `shard_megabytes`; a large class is cut into arrays of about 1 MB
    and may go on in the next shard. Everything is written aside and renamed at
    the end: a writer that is killed leaves nothing that can be read, and one that fails, on a full disk for example, leaves
    nothing at all. The same input gives the same bytes.

    If the splits include `train`, `val` and `test`, `task.yaml` beside the shards is a configuration for
    `lightning-meta fit` (see `datamodules.writing.task_file.task_yaml`).

    Example:
        from pathlib import Path
        import numpy as np
        from datamodules import ClassImages, Preprocess, ShardSet, write_shards

        def classes():
            for number in range(20):
                split = "train" if number < 12 else "val" if number < 16 else "test"
                images = np.random.default_rng(number).integers(0, 256, (10, 1, 28, 28), np.uint8)
                yield ClassImages(f"class {number}", split, images)

        index = write_shards(Path("shards/noise"), "noise", Preprocess(size=28, channels=1), classes())
        shards = ShardSet("shards/noise")
        images = shards.images(index.split("test")[0], np.array([3, 7]))  # [2, 1, 28, 28]

    Args:
        out: Folder to write, which must not exist.
        title: Name of the set in messages and reports.
        preprocess: How the arrays were made from image files, or how to decode encoded files. `adapt` reads a user's images
            in the same way.
        classes: The classes, read one at a time; either all as arrays or all as encoded files.
        extra_splits: Further splits over the same classes: {name of the split: names of its classes}.
        shard_megabytes: Size after which a shard is closed.
        texts: Returns further text files to write beside the shards, {name: content}. It is called after the last class; a
            `task.yaml` among them takes the place of the usual one.

    Returns:
        The index of the set.

    Raises:
        InputError: If `out` exists or cannot be written.
    """
    check_out(out)
    with whole(out) as partial:
        shutil.rmtree(partial, ignore_errors=True)  # left by a writer that was killed
        partial.mkdir()
        writer = _Writer(partial, shard_megabytes, math.prod(preprocess.check().shape))
        items = iter(classes)
        try:
            for item in items:
                writer.add(item)
            writer.close()
        finally:
            writer.release()
            if isinstance(items, Generator):
                items.close()  # also the processes that it has
        contents = writer.contents(title, preprocess, extra_splits or {})
        contents.write(partial)
        write_task_file(partial, out, read_index(str(partial)))
        for name, content in texts().items():
            (partial / name).write_text(content, encoding="utf-8")
    return read_index(str(out))


def check_out(out: Path) -> None:
    """Raise InputError if the folder to write exists already or cannot be written."""
    with storage_errors(out):
        exists = out.exists() or out.is_symlink()
    if exists:
        raise InputError(f"{out} exists: nothing is overwritten. Choose another --out, or remove it first")
    check_writable(out)


def tar_writer(path: Path) -> TarWriter:
    """Open a WebDataset writer whose output depends on its input only, and not on time or user."""
    return TarWriter(str(path), encoder=False, mtime=0, user="", group="")


def release(writer: TarWriter) -> None:
    """Close the files of a writer that failed; otherwise it would fail again when it is garbage-collected."""
    for close in (writer.close, writer.stream.close):
        with suppress(OSError):
            close()


class _Writer:
    """The open shards of a set, one WebDataset TarWriter per split."""

    def __init__(self, folder: Path, megabytes: float, image_bytes: int):
        self.folder, self.limit, self.image_bytes = folder, megabytes * 2**20, image_bytes
        self.paths: list[str] = []
        self.members: list[Member] = []
        self.classes: list[ClassImages] = []  # without their images
        self.counts: list[int] = []
        self.encoded = False
        self.open: dict[str, tuple[int, TarWriter]] = {}

    def add(self, item: ClassImages) -> None:
        """Write a class, as one WebDataset sample in each shard that it reaches into."""
        count, self.encoded = len(item.images), not isinstance(item.images, np.ndarray)
        key = f"{len(self.classes):06d}"
        about = {"name": item.name, "split": item.split, "count": count, "source": item.source}
        described = set[int]()
        for name, data, images in _files(item.images, images_in_array(self.image_bytes)):
            shard = self.shard(item.split)
            sample = {"__key__": key, name: data}
            if shard not in described:
                sample["json"] = json.dumps(about).encode()
                described.add(shard)
            self.open[item.split][1].write(sample)
            self.members.append(Member(shard, f"{key}.{name}", images))
        self.classes.append(item._replace(images=[]))
        self.counts.append(count)

    def shard(self, split: str) -> int:
        """Return the number of the split's open shard, after closing a full one and opening the next."""
        if split in self.open and self.open[split][1].tarstream.offset > self.limit:
            self.open[split][1].close()
            del self.open[split]
        if split not in self.open:
            path = f"{split}-{sum(p.startswith(split + '-') for p in self.paths):06d}.tar"
            self.open[split] = (len(self.paths), tar_writer(self.folder / path))
            self.paths.append(path)
        return self.open[split][0]

    def contents(self, title: str, preprocess: Preprocess, extra_splits: dict[str, set[str]]) -> Contents:
        """Return the index of what was written, read back from the closed shards."""
        per_blob = 1 if self.encoded else images_per_checksum(self.image_bytes)
        sources, blobs = scan(self.folder, self.paths, self.members, per_blob)
        splits: dict[str, list[int]] = {}
        for number, item in enumerate(self.classes):
            splits.setdefault(item.split, []).append(number)
        for name, members in extra_splits.items():
            splits[name] = [number for number, item in enumerate(self.classes) if item.name in members]
        groups = sorted({item.group for item in self.classes} - {""})
        group_of = {name: number for number, name in enumerate(groups)}
        classes = Classes(
            name=[item.name for item in self.classes],
            count=np.array(self.counts, np.int64),
            group=np.array([group_of[item.group] for item in self.classes], np.int64) if groups else None,
            groups=groups,
            same=[(item.same_as, n) for n, item in enumerate(self.classes) if item.same_as is not None],
        )
        return Contents(title, preprocess, self.encoded, sources, blobs, classes, splits, per_blob)

    def close(self) -> None:
        for _, writer in self.open.values():
            writer.close()

    def release(self) -> None:
        for _, writer in self.open.values():
            release(writer)


def _files(images: NDArray[np.uint8] | list[tuple[str, bytes]], in_array: int) -> Iterator[tuple[str, bytes, int]]:
    """Yield the members of a class: the ending of each name, its bytes, and the number of images in it."""
    if isinstance(images, np.ndarray):
        for number, first in enumerate(range(0, len(images), in_array)):
            array = images[first : first + in_array]
            yield f"{number:04d}.images.npy", npy(array), len(array)
    else:
        for number, (ending, data) in enumerate(images):
            yield f"{number:04d}{ending}", data, 1


def images_per_checksum(image_bytes: int) -> int:
    """Return the number of images in arrays that have one checksum together, given the bytes of one."""
    return max(1, CHECKED // image_bytes)


def images_in_array(image_bytes: int) -> int:
    """Return the number of images in an array, given the bytes of one: a multiple of those with one checksum."""
    together = images_per_checksum(image_bytes)
    return together * max(1, CHUNK // (together * image_bytes))


def npy(values: NDArray[Any]) -> bytes:
    """Return the content of an npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
