"""A shard that is open for reading at any offset."""

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from datamodules.reading.damage import DamageError
from lightning_meta.core import InputError

REMEDY = "Copy or write the shards again, or skip what is damaged (on_error: skip)"
PIECE = 16 * 2**20  # bytes to read at a time


class ShardFile:
    """An open shard file.

    It is read, not memory-mapped: a mapped file that shrinks, or whose disk fails, kills the process that looks at it.

    Args:
        path: The file.
        size: Its length in bytes, according to the index.
        writable: Whether it can be written to, as a copy of ranges is.

    Raises:
        DamageError: If the file has another length.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path, size: int, writable: bool = False):
        self.path = path
        mode = os.O_RDWR if writable else os.O_RDONLY
        self.number = os.open(path, mode | os.O_CLOEXEC | os.O_NONBLOCK)  # do not wait for the writer of a pipe
        if (length := os.fstat(self.number).st_size) != size:
            raise DamageError(f"shard {path} is {length} bytes long; the index says {size} bytes. {REMEDY}")

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):  # the file was never opened
            os.close(self.number)

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; raise DamageError if the file is shorter, InputError if the disk fails."""
        try:
            data = os.pread(self.number, size, offset)
        except OSError as error:
            raise self._failed(error) from error
        if len(data) < size:
            raise DamageError(f"shard {self.path} has become shorter while it was read. {REMEDY}")
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes from `offset` on; raise OSError if the disk is full or fails."""
        while data:
            written = os.pwrite(self.number, data, offset)
            offset, data = offset + written, data[written:]

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield `size` bytes from `offset` on in pieces that fit into memory."""
        for start in range(offset, offset + size, PIECE):
            yield self.read(start, min(PIECE, offset + size - start))

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill `out` with the bytes from `offset` on; raise DamageError if the file is shorter, InputError if it fails."""
        try:
            length = os.preadv(self.number, [out], offset)
        except OSError as error:
            raise self._failed(error) from error
        if length < len(out):
            raise DamageError(f"shard {self.path} has become shorter while it was read. {REMEDY}")

    def crc32(self, offset: int, size: int) -> int:
        """Return the CRC-32 of `size` bytes from `offset` on."""
        checksum = 0
        for piece in self.pieces(offset, size):
            checksum = zlib.crc32(piece, checksum)
        return checksum

    def is_removed(self) -> bool:
        """Return whether the file has no name any more, so that other processes do not see what is written to it."""
        return os.fstat(self.number).st_nlink == 0

    def touch(self) -> None:
        """Record the time of this use, if the file system allows it."""
        with suppress(OSError):
            os.utime(self.number)

    def _failed(self, error: OSError) -> InputError:
        return InputError(f"shard {self.path} cannot be read ({error.strerror}): check its disk or network")
