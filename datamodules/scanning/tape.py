"""A file, here or at a URL, that is read once from its beginning to its end, with further tries if the network fails."""

import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from datamodules.reading.damage import DamageError
from datamodules.scanning.remote_file import RemoteFile, remote_info
from lightning_meta.core import InputError

BUFFER = 2**20  # bytes per read of the disk, and per check that the work is still wanted
IDENTITY = (
    "size",
    "ETag",
    "Last-Modified",
    "LastModified",
    "mtime",
    "last_modified",
    "md5Hash",
    "generation",
    "sha256",
)

Report = Callable[[int], None]  # it is called with the number of bytes read since the last call, and may raise to end


class Tape:
    """A file that is read from its beginning to its end, whose position is known and whose end is checked.

    Args:
        name: Path or URL, for messages.
        file: The open file, buffered.
        report: Called with the number of bytes that were read since the last call.
        skips: Whether the file can go on at a later byte without reading what lies between.
    """

    def __init__(self, name: str, file: io.BufferedIOBase, report: Report = lambda _: None, skips: bool = True):
        self.name, self.file, self.report, self.skips = name, file, report, skips
        self.position, self._reported = 0, 0

    def read(self, size: int, allow_end: bool = False) -> bytes:
        """Return the next `size` bytes; none at the end of the file if `allow_end`.

        Raises:
            DamageError: If the file ends before.
        """
        data = self.file.read(size)
        self.position += len(data)
        if len(data) < size and (data or not allow_end):
            raise DamageError(
                f"{self.name} ends at byte {self.position}, in the middle of a member: it is truncated. Copy it again"
            )
        if self.position - self._reported > BUFFER:
            self.tell()
        return data

    def read_up_to(self, size: int) -> bytes:
        """Return the next bytes, fewer than `size` at the end of the file."""
        data = self.file.read(size)
        self.position += len(data)
        return data

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes in pieces that fit into memory."""
        for start in range(0, size, BUFFER):
            yield self.read(min(BUFFER, size - start))

    def skip_to(self, position: int) -> None:
        """Read on to a position; raise DamageError if it has been passed."""
        if position < self.position:
            raise DamageError(
                f"{self.name} is damaged before byte {self.position}: a member lies in another. Copy it again"
            )
        if self.skips and position - self.position > 2 * BUFFER:
            self.file.seek(position - 1)
            self.position = position - 1
        while gap := min(position - self.position, BUFFER):
            self.read(gap)

    def tell(self) -> None:
        """Report the bytes that were read since the last report."""
        self.report(self.position - self._reported)
        self._reported = self.position


def checksum(pieces: Iterator[bytes]) -> tuple[int, bytes]:
    """Return the CRC-32 of some bytes that come in pieces, and the first of the pieces."""
    first = next(pieces, b"")
    crc32 = zlib.crc32(first)
    for piece in pieces:
        crc32 = zlib.crc32(piece, crc32)
    return crc32, first


def identity(place: str, remote: bool, patient: bool = True) -> dict[str, Any]:
    """Return the facts by which another state of a file is known: its size, its time or its tag.

    Args:
        place: The path or URL of the file.
        remote: Whether it is a URL.
        patient: Whether to try again even if no server has answered.

    Raises:
        DamageError: If there is no such file.
        InputError: If it cannot be reached.
    """
    if remote:
        known = remote_info(place, patient)
        return {name: str(known[name]) for name in IDENTITY if known.get(name) is not None} | {"size": known["size"]}
    with local_errors(place):
        about = os.stat(place)
        return {"size": about.st_size, "mtime": about.st_mtime_ns, "inode": about.st_ino}


@contextmanager
def opened(place: str, remote: bool, report: Report = lambda _: None) -> Iterator[Tape]:
    """Open a local file or a URL to read it once."""
    with local_errors(place):
        if remote:
            raw = RemoteFile(place, remote_info(place)["size"])
            with io.BufferedReader(raw, BUFFER) as file:
                yield Tape(place, file, report, skips=False)
        else:
            with io.BufferedReader(io.FileIO(place), BUFFER) as file:
                yield Tape(place, file, report)


@contextmanager
def local_errors(place: str) -> Iterator[None]:
    """Raise InputError in place of an OSError of a local file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {place} ({error.strerror or error}): mend it, or leave it out") from error
