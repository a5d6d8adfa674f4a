"""A shard that is open to read: any bytes of it, or one message where they are not there."""

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.reading.damage import DamageError
from lightning_meta.core import InputError

MEND = "Copy or write the shards again, or skip what is damaged (on_error: skip)"
PIECE = 16 * 2**20  # bytes read at a time


class ShardFile:
    """The file at `path`, which has `size` bytes. Raises DamageError where it has others, and OSError where it cannot be
    opened.

    It is read, not mapped: a mapped file that shrinks, or whose disk fails, kills the process that looks at it.
    """

    def __init__(self, path: Path, size: int):
        self.path = path
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe keeps nobody waiting
        if (length := os.fstat(self.number).st_size) != size:
            raise DamageError(f"shard {path} is {length} bytes long; the index says {size} bytes. {MEND}")

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):  # it was never opened
            os.close(self.number)

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from `offset` on. Raises DamageError where they are not there, InputError where the disk fails."""
        try:
            data = os.pread(self.number, size, offset)
        except OSError as error:
            raise InputError(
                f"shard {self.path} cannot be read ({error.strerror}): check its disk or network"
            ) from error
        if len(data) < size:
            raise DamageError(f"shard {self.path} has become shorter while it was read. {MEND}")
        return data

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        """The same, so many at a time that memory holds them."""
        for start in range(offset, offset + size, PIECE):
            yield self.read(start, min(PIECE, offset + size - start))

    def rows(self, offset: int, size: int, which: NDArray[np.integer]) -> bytearray:
        """Of rows of `size` bytes that stand one after another from `offset` on, some."""
        return bytearray().join([self.read(offset + size * i, size) for i in which.tolist()])

    def crc32(self, offset: int, size: int) -> int:
        found = 0
        for piece in self.pieces(offset, size):
            found = zlib.crc32(piece, found)
        return found

    def touch(self) -> None:
        """Note that it was used now, as far as its folder can be written to."""
        with suppress(OSError):
            os.utime(self.number)
