"""Write a shard set: class records packed into WebDataset shards beside an index, whole or not at all."""

import hashlib
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from webdataset.writer import TarWriter

from datamodules.index.shard_index import FILE, Blob, Index, Record, Shard
from datamodules.reading.preprocess import Preprocess
from lightning_meta.core import InputError
from lightning_meta.core.files import check_writable, storage_errors, whole


class ClassImages(NamedTuple):
    """A class to write. images: uint8 [count, channels, size, size], or encoded files as (ending, bytes) pairs. `same_as`
    is the number of an earlier class that is this one under another name."""

    name: str
    split: str
    images: NDArray[np.uint8] | list[tuple[str, bytes]]
    source: str = ""
    same_as: int | None = None


def check_out(out: Path) -> None:
    """InputError where the folder to write exists already or cannot be written."""
    with storage_errors(out):
        exists = out.exists() or out.is_symlink()
    if exists:
        raise InputError(f"{out} exists: nothing is overwritten. Choose another --out, or remove it first")
    check_writable(out)


def write_shards(
    out: Path,
    title: str,
    preprocess: Preprocess,
    classes: Iterable[ClassImages],
    extra_splits: dict[str, set[str]] | None = None,
    shard_megabytes: float = 64.0,
) -> Index:
    """Write `classes` to the folder `out` and return the index.

    Every split gets shards of its own, closed once they pass `shard_megabytes`. `extra_splits` name further splits over
    the same classes, by class names. Everything is written aside and renamed at the end: a killed writer leaves nothing
    that reads, and one that fails, on a full disk say, leaves nothing. The same input gives the same bytes.
    """
    check_out(out)
    with whole(out) as partial:
        shutil.rmtree(partial, ignore_errors=True)  # of a writer that was killed
        partial.mkdir()
        writer = _Writer(partial, shard_megabytes)
        try:
            for item in classes:
                writer.add(item)
            writer.close()
        finally:
            writer.let_go()
        index = _index(partial, title, preprocess, writer, extra_splits or {})
        (partial / FILE).write_text(index.to_json())
    return index


def _index(
    folder: Path, title: str, preprocess: Preprocess, writer: "_Writer", extra_splits: dict[str, set[str]]
) -> Index:
    shards, records = scan(folder, writer.paths, writer.written)
    splits: dict[str, list[int]] = {}
    for number, item in enumerate(writer.written):
        splits.setdefault(item.split, []).append(number)
    for name, members in extra_splits.items():
        splits[name] = [number for number, item in enumerate(writer.written) if item.name in members]
    return Index(title, preprocess, writer.encoded, tuple(shards), tuple(records), splits, tuple(writer.same))


class Written(NamedTuple):
    """A record in the shards: its class, the number of its shard, and the names of its images there."""

    name: str
    split: str
    count: int  # type: ignore[assignment]  # a tuple's method of this name is not wanted
    shard: int
    members: tuple[str, ...]


class _Writer:
    """One open WebDataset TarWriter a split."""

    def __init__(self, folder: Path, megabytes: float):
        self.folder, self.limit = folder, megabytes * 2**20
        self.paths: list[str] = []
        self.written: list[Written] = []
        self.same: list[tuple[int, int]] = []
        self.encoded = False
        self.open: dict[str, tuple[int, TarWriter]] = {}

    def add(self, item: ClassImages) -> None:
        count, self.encoded = len(item.images), not isinstance(item.images, np.ndarray)
        key, shard = f"{len(self.written):06d}", self.shard(item.split)
        about = {"name": item.name, "split": item.split, "count": count, "source": item.source}
        if item.same_as is not None:
            self.same.append((item.same_as, len(self.written)))
        images = _files(item.images)
        sample = {"__key__": key, **images, "json": json.dumps(about).encode()}
        self.open[item.split][1].write(sample)
        self.written.append(Written(item.name, item.split, count, shard, tuple(f"{key}.{name}" for name in images)))

    def shard(self, split: str) -> int:
        """Number of the split's open shard; a full one is closed and the next begun."""
        if split in self.open and self.open[split][1].tarstream.offset > self.limit:
            self.open[split][1].close()
            del self.open[split]
        if split not in self.open:
            path = f"{split}-{sum(p.startswith(split + '-') for p in self.paths):06d}.tar"
            self.open[split] = (len(self.paths), tar_writer(self.folder / path))
            self.paths.append(path)
        return self.open[split][0]

    def close(self) -> None:
        for _, writer in self.open.values():
            writer.close()

    def let_go(self) -> None:
        for _, writer in self.open.values():
            let_go(writer)


def tar_writer(path: Path) -> TarWriter:
    return TarWriter(str(path), encoder=False, mtime=0, user="", group="")


def let_go(writer: TarWriter) -> None:
    """Close the files of a writer that failed, which would else fail again when it is collected."""
    for close in (writer.close, writer.stream.close):
        with suppress(OSError):
            close()


def _files(images: NDArray[np.uint8] | list[tuple[str, bytes]]) -> dict[str, bytes]:
    if isinstance(images, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, images)
        return {"images.npy": buffer.getvalue()}
    return {f"{i:04d}{ending}": data for i, (ending, data) in enumerate(images)}


def scan(folder: Path, paths: list[str], written: list[Written]) -> tuple[list[Shard], list[Record]]:
    """Read the shards back: their checksums, and where in them each image array or file lies."""
    shards, places = [], list[dict[str, Blob]]()
    for path in paths:
        data = memoryview((folder / path).read_bytes())
        shards.append(Shard(path, len(data), hashlib.sha256(data).hexdigest()))
        with tarfile.open(folder / path) as tar:
            places.append({member.name: _blob(data, member) for member in tar})
    records = [
        Record(item.name, item.shard, item.count, tuple(places[item.shard][member] for member in item.members))
        for item in written
    ]
    return shards, records


def _blob(data: memoryview, member: tarfile.TarInfo) -> Blob:
    """The payload of a tar member; of an array, what follows the npy header."""
    offset, length = member.offset_data, member.size
    if member.name.endswith(".npy"):
        stream = io.BytesIO(data[offset : offset + 256])
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        offset, length = offset + stream.tell(), length - stream.tell()
    return Blob(offset, length, zlib.crc32(data[offset : offset + length]))
