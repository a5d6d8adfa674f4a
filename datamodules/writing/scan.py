"""Read shards back once they are written: their checksums, and where in them the images lie."""

import hashlib
import io
import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.index.shard_index import Blob, Record, Shard


class WrittenRecord(NamedTuple):
    """A record in a shard: its class, the number of its shard, and the names of its images there."""

    name: str
    split: str
    count: int  # type: ignore[assignment]  # hides a tuple's method of this name, which is not needed
    shard: int
    members: tuple[str, ...]


def scan(folder: Path, paths: list[str], written: list[WrittenRecord]) -> tuple[list[Shard], list[Record]]:
    """Read the shards of a folder and return what an index says of them.

    Args:
        folder: Folder of the shards.
        paths: Names of the shards, in the order of their numbers.
        written: The records that were written to them.

    Returns:
        The shards with their lengths and checksums, and the records with the place of each image array or file.
    """
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
    """Return the payload of a tar member; for an array, the part after the npy header."""
    offset, length = member.offset_data, member.size
    if member.name.endswith(".npy"):
        stream = io.BytesIO(data[offset : offset + 256])
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        offset, length = offset + stream.tell(), length - stream.tell()
    return Blob(offset, length, zlib.crc32(data[offset : offset + length]))
