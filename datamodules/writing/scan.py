"""Read shards back once they are written: their checksums, and where in them the images lie."""

import hashlib
import io
import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.index.contents import Blobs, Sources


class Member(NamedTuple):
    """A member of a shard: the number of the shard, and the name of the member in it."""

    shard: int
    name: str


def scan(folder: Path, paths: list[str], written: list[Member]) -> tuple[Sources, Blobs]:
    """Read the shards of a folder and return what an index says of them.

    Args:
        folder: Folder of the shards.
        paths: Names of the shards, in the order of their numbers.
        written: The arrays and image files that were written to them, class by class.

    Returns:
        The shards with their lengths and checksums, and the place of each array or image file.
    """
    sizes, digests, places = list[int](), list[bytes](), list[dict[str, tuple[int, int, int]]]()
    for path in paths:
        data = memoryview((folder / path).read_bytes())
        sizes.append(len(data))
        digests.append(hashlib.sha256(data).digest())
        with tarfile.open(folder / path) as tar:
            places.append({member.name: _place(data, member) for member in tar})
    found = [places[member.shard][member.name] for member in written]
    offset, length, crc32 = np.array(found, np.uint64).reshape(-1, 3).T
    sha256 = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    source = np.array([member.shard for member in written], np.uint32)
    return Sources(paths, np.array(sizes, np.uint64), sha256=sha256), Blobs(source, offset, length, crc32)


def _place(data: memoryview, member: tarfile.TarInfo) -> tuple[int, int, int]:
    """Return offset, length and CRC-32 of the payload of a tar member; for an array, of the part after the npy header."""
    offset, length = member.offset_data, member.size
    if member.name.endswith(".npy"):
        stream = io.BytesIO(data[offset : offset + 256])
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        offset, length = offset + stream.tell(), length - stream.tell()
    return offset, length, zlib.crc32(data[offset : offset + length])
