"""Verification of the place of a tar member by the header in front of it, without reading the whole tar."""

import io
import tarfile

from datamodules.reading.shard_file import ShardFile


def is_member(file: ShardFile, offset: int, size: int, prefix: str) -> bool:
    """Return whether a range of bytes is the end of a tar member.

    Its header must stand in front of it, perhaps followed by an npy header.

    Args:
        file: The open tar.
        offset: Where the bytes begin.
        size: The number of bytes.
        prefix: The beginning of the name of the member.
    """
    start = (offset - tarfile.BLOCKSIZE) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
    if start < 0:
        return False
    header, end = file.read(start, tarfile.BLOCKSIZE), offset + size - start - tarfile.BLOCKSIZE
    if not header.startswith(prefix.encode()) or header[257:262] != b"ustar":
        return False
    digits = header[124:136].rstrip(b"\0 ")
    if digits and not digits.strip(b"01234567") and int(digits, 8) == end:
        return True
    extended = (
        file.read(start - 2 * tarfile.BLOCKSIZE, 2 * tarfile.BLOCKSIZE) if start >= 2 * tarfile.BLOCKSIZE else b""
    )
    return end in (_member_size(header), _member_size(extended + header))


def _member_size(header: bytes) -> int | None:
    """Return the size in a tar header that is not a plain octal number.

    The size of a member of 8 GiB or more is in base 256, or in a record of its own.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(header), mode="r:") as tar:
            member = tar.next()
    except tarfile.TarError:
        return None
    return member and member.size
