"""Columns of an index: arrays in one file, mapped into memory, whose blocks are checked when they are first read."""

import hashlib
import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_meta.core import InputError

BLOCK = 2**16  # bytes that have a checksum of their own
ALIGNED = 64  # bytes between which columns begin
SMALL = 2**20  # bytes up to which a file of columns is read whole, and not mapped
REMEDY = "write the index again"

Shape = tuple[int, ...]


class ColumnFile:
    """A file of columns, which all processes of a machine share through the page cache.

    A file of up to 1 MiB is read whole. A longer one is mapped, and each of its blocks of 64 KiB is compared with its CRC-32
    when it is first read, so that opening takes no time and reading is still safe. The checksums of the blocks are the last
    part of the file.

    Args:
        path: The file.
        size: Its length in bytes.
        sha256: SHA-256 of the checksums.

    Raises:
        InputError: If there is no such file, or it is damaged.
    """

    def __init__(self, path: Path, size: int, sha256: str):
        self.path, self.size, self.sha256 = path, size, sha256
        try:
            with path.open("rb") as file:
                self.data = file.read(size + 1) if size <= SMALL else mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise InputError(f"{path} cannot be read ({error}): {REMEDY}") from error
        if len(self.data) != size:
            raise damage(path, f"it is {len(self.data)} bytes long, where the index says {size}")
        self.length = length_of_columns(size)  # without the checksums
        checksums = self.data[self.length :]
        if hashlib.sha256(checksums).hexdigest() != sha256:
            raise damage(path, "its checksum does not match")
        self.checksums = np.frombuffer(checksums, "<u4")
        self._intact = np.zeros(len(self.checksums), bool)
        self.is_checked = isinstance(self.data, bytes)
        if self.is_checked:
            self.check()

    def check(self) -> None:
        """Raise InputError if any block is damaged."""
        self.check_blocks(np.arange(len(self.checksums)))

    def check_range(self, first: int, last: int) -> None:
        """Raise InputError if the bytes from `first` up to, but without, `last` are damaged."""
        if not self.is_checked and last > first:
            self.check_blocks(np.arange(first // BLOCK, (last - 1) // BLOCK + 1))

    def check_places(self, places: NDArray[np.integer]) -> None:
        """Raise InputError if the values that begin at these places are damaged."""
        self.check_blocks(places // BLOCK)

    def check_blocks(self, blocks: NDArray[np.integer]) -> None:
        """Compare blocks with their checksums, each once; a file that has become shorter must not be looked at."""
        if isinstance(self.data, mmap.mmap) and self.data.size() < self.size:
            raise damage(self.path, "it has become shorter while it was read")
        if (seen := self._intact[blocks]).all():
            return
        for block in np.unique(blocks[~seen]).tolist():
            end = min((block + 1) * BLOCK, self.length)
            if zlib.crc32(self.data[block * BLOCK : end]) != self.checksums[block]:
                raise damage(self.path, "its checksum does not match")
            self._intact[block] = True

    def __reduce__(self) -> tuple[Any, ...]:
        return ColumnFile, (self.path, self.size, self.sha256)


class Column:
    """A column in a file.

    Args:
        file: The file.
        start: The place of its first byte.
        dtype: Type of its values.
        shape: Shape of its values, of which the first is the number of rows.
    """

    def __init__(self, file: ColumnFile, start: int, dtype: np.dtype[Any], shape: Shape):
        self.file, self.start, self.dtype, self.shape = file, start, dtype, shape
        self.row = dtype.itemsize * int(np.prod(shape[1:], dtype=int))
        if start + self.row * shape[0] > file.length:
            raise damage(file.path, f"it cannot hold {shape[0]} rows at {start}")
        self.values = np.ndarray(shape, dtype, file.data, start)

    def __len__(self) -> int:
        return self.shape[0]

    def between(self, first: int, last: int) -> NDArray[Any]:
        """Return the rows from `first` up to, but without, `last`; raise InputError if they are damaged or missing."""
        if not 0 <= first <= last <= len(self):
            raise damage(self.file.path, f"rows {first} to {last} of {len(self)} are asked for")
        self.file.check_range(self.start + first * self.row, self.start + last * self.row)
        return self.values[first:last]

    def at(self, rows: NDArray[np.integer]) -> NDArray[Any]:
        """Return the rows with these numbers, 0 or more; raise InputError if they are damaged or missing."""
        if not self.file.is_checked and len(rows) and int(rows.max()) < len(self):
            self.file.check_places(self.start + rows.astype(np.int64) * self.row)
        try:
            return self.values[rows]
        except IndexError as error:
            raise damage(self.file.path, f"row {rows.max()} of {len(self)} is asked for") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return Column, (self.file, self.start, self.dtype, self.shape)


class Texts:
    """A column of texts: the bytes of all, and where each ends.

    Args:
        ends: For text i, `ends[i]` is where it begins and `ends[i + 1]` where it ends, uint64 [texts + 1].
        data: The UTF-8 bytes of all texts.
    """

    def __init__(self, ends: Column, data: Column):
        self.ends, self.data = ends, data

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, number: int) -> str:
        first, last = self.ends.between(number, number + 2).tolist()
        try:
            return self.data.between(first, last).tobytes().decode("utf-8", "surrogateescape")
        except UnicodeDecodeError as error:
            raise damage(self.data.file.path, "a name in it is not UTF-8") from error


def texts(values: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Return the columns of some texts: where each ends, and the bytes of all."""
    encoded = [value.encode("utf-8", "surrogateescape") for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.uint64)
    return ends, np.frombuffer(b"".join(encoded), np.uint8)


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> tuple[dict[str, list[int]], int, str]:
    """Write columns to one file, and the checksums of its blocks after them.

    Args:
        path: File to write.
        columns: The columns by name.

    Returns:
        For each column the place of its first byte and its number of rows; the length of the file in bytes; and the SHA-256
        of the checksums.
    """
    facts, checksums, length = dict[str, list[int]](), list[int](), 0
    with path.open("w+b") as file:
        for name, values in columns.items():
            file.seek(length)
            assert BLOCK % values.dtype.itemsize == 0, "a value lies in one block"
            facts[name] = [length, len(values)]
            file.write(np.ascontiguousarray(values).tobytes())
            length = -(-file.tell() // ALIGNED) * ALIGNED
        file.truncate(length)
        file.seek(0)
        for block in iter(lambda: file.read(BLOCK), b""):
            checksums.append(zlib.crc32(block))
        data = np.array(checksums, "<u4").tobytes()
        file.write(data)
        return facts, length + len(data), hashlib.sha256(data).hexdigest()


def open_columns(
    path: Path, facts: Mapping[str, list[int]], size: int, sha256: str, kinds: Mapping[str, tuple[np.dtype[Any], Shape]]
) -> dict[str, Column]:
    """Open a file of columns.

    Args:
        path: The file.
        facts: For each column the place of its first byte and its number of rows.
        size: Length of the file in bytes.
        sha256: SHA-256 of the checksums of its blocks.
        kinds: For each column the type of its values and the shape of a row.

    Raises:
        InputError: If the file is missing, or its length or checksum is not as expected.
    """
    file = ColumnFile(path, size, sha256)
    return {name: Column(file, start, kinds[name][0], (rows, *kinds[name][1])) for name, (start, rows) in facts.items()}


def length_of_columns(size: int) -> int:
    """Return the length of the columns in a file of this length, in which 4 bytes per block follow them."""
    blocks = -(-size // (BLOCK + 4))
    return max(0, size - 4 * blocks)


def damage(path: Path, reason: str) -> InputError:
    """Return the error that a file of an index is damaged."""
    return InputError(f"{path} is damaged ({reason}): {REMEDY}")
