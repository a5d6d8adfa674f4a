"""Read shards back once they are written: their checksums, and where in them the images lie."""

import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.index.contents import Blobs, Sources


class Member(NamedTuple):
    """A member of a shard: the number of the shard, its name there, and the number of images in it."""

    shard: int
    name: str
    images: int = 1


def scan(folder: Path, paths: list[str], written: list[Member], images_per_blob: int = 1) -> tuple[Sources, Blobs]:
    """Read the shards of a folder and return what an index says of them.

    Args:
        folder: Folder of the shards.
        paths: Names of the shards, in the order of their numbers.
        written: The arrays and image files that were written to them, class by class.
        images_per_blob: Number of images of an array that have one checksum together.

    Returns:
        The shards with their lengths and checksums, and the place of each image file or part of an array.
    """
    sizes, digests = list[int](), list[bytes]()
    images = {(member.shard, member.name): member.images for member in written}
    places = dict[tuple[int, str], list[tuple[int, int, int, int]]]()
    for shard, path in enumerate(paths):
        data = memoryview((folder / path).read_bytes())
        sizes.append(len(data))
        digests.append(hashlib.sha256(data).digest())
        with tarfile.open(folder / path) as tar:
            for member in tar:
                if many := images.get((shard, member.name)):
                    parts = _parts(data, member, many, images_per_blob)
                    places[shard, member.name] = [(shard, first, size, crc32) for first, size, crc32 in parts]
    rows = [row for member in written for row in places[member.shard, member.name]]
    sha256 = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    return Sources(paths, np.array(sizes, np.uint64), sha256=sha256), Blobs(*np.array(rows, np.uint64).reshape(-1, 4).T)


def _parts(data: memoryview, member: tarfile.TarInfo, images: int, per_blob: int) -> Iterator[tuple[int, int, int]]:
    """Yield offset, length and CRC-32 of the parts of a tar member; of an array, those after the npy header."""
    offset, length = member.offset_data, member.size
    if member.name.endswith(".npy"):
        stream = io.BytesIO(data[offset : offset + 256])
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        offset, length = offset + stream.tell(), length - stream.tell()
    each = length // images
    for first in range(0, images, per_blob):
        begin, size = offset + first * each, min(per_blob, images - first) * each
        yield begin, size, zlib.crc32(data[begin : begin + size])
