"""A cache of remote files: a folder of bounded size with local copies, of whole shards or of some ranges of them."""

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datamodules.index.shard_index import Source
from datamodules.reading.cache_folder import cache_folder
from datamodules.reading.damage import DamageError
from datamodules.reading.remote import fetch
from datamodules.reading.shard_file import ShardFile
from lightning_meta.core import InputError
from lightning_meta.core.files import storage_errors

YOUNG = 5.0  # seconds for which a new partial copy is left alone, because its lock may not exist yet
WHOLE, RANGES = ".tar", ".ranges"  # endings of copies


class ShardCache:
    """Local copies of remote shards.

    A whole copy is verified by SHA-256, written aside and renamed. A copy of ranges is a sparse file: what was fetched is
    written at the place that it has in the shard, and recognised by the checksum that the index has of it. The least
    recently used copies are removed first. Processes of one machine share the folder; a file that another process still has
    open stays readable to it. Partial copies of a killed process are removed when the next shard is copied.

    Args:
        gigabytes: The room that copies may take, in GB (10^9 bytes).
        folder: The folder of the copies; by default LIGHTNING_META_CACHE or ~/.cache/lightning-meta.
    """

    def __init__(self, gigabytes: float | int = 16.0, folder: str | None = None):
        if not gigabytes > 0:
            raise InputError(f"the cache of remote shards has {gigabytes} GB: give more than 0")
        self.bytes, self.folder = int(gigabytes * 1e9), cache_folder(folder)

    def open(self, url: str, shard: Source, in_use: Iterable[Source] = ()) -> ShardFile:
        """Return a local copy of a whole shard, open, copying it first if there is none.

        Args:
            url: URL of the shard.
            shard: The entry of the shard in the index, with its checksum.
            in_use: Shards whose copies must not be removed to make room.

        Raises:
            DamageError: If the shard at `url` is not what the index says.
            InputError: If it cannot be copied.
        """
        path = self._path(shard)
        with suppress(OSError, InputError):  # there is no copy, or it is incomplete
            copy = ShardFile(path, shard.bytes)
            copy.touch()
            return copy
        with self._writing():
            with self._aside(path) as aside:
                self._copy(url, shard, aside)
                copy = ShardFile(aside, shard.bytes)  # before another process can evict it
                aside.rename(path)
            self.make_room({path, *map(self._path, in_use)})
        return copy

    def discard(self, shard: Source) -> None:
        """Remove a damaged copy of a whole shard."""
        with storage_errors(self.folder):
            self._path(shard).unlink(missing_ok=True)

    def open_ranges(self, url: str, shard: Source) -> ShardFile:
        """Return the sparse copy of a shard, open for reading and writing; what was not fetched yet is zeros."""
        name = hashlib.sha256(f"{url} {shard.bytes}".encode()).hexdigest()
        path = self.folder / f"{name}{RANGES}"
        with self._writing():
            if not (path.is_file() and path.stat().st_size == shard.bytes):
                with self._aside(path) as aside:
                    with aside.open("r+b") as file:
                        file.truncate(shard.bytes)
                    aside.rename(path)
            return ShardFile(path, shard.bytes, writable=True)

    def make_room(self, keep: set[Path]) -> None:
        """Remove the least recently used copies, except those to keep, until the cache is within its bound."""
        copies = [(path, size, used) for path in self._copies() for size, used in _size_and_use(path)]
        excess = sum(size for _, size, _ in copies) - self.bytes
        for path, size, _ in sorted(copies, key=lambda copy: copy[2]):
            if excess <= 0:
                return
            if path not in keep:
                path.unlink(missing_ok=True)
                excess -= size

    def _copies(self) -> Iterator[Path]:
        for ending in (WHOLE, RANGES, ".partial"):
            yield from self.folder.glob(f"*{ending}")

    def _path(self, shard: Source) -> Path:
        assert shard.sha256 is not None, "only such shards are copied whole"
        return self.folder / f"{shard.sha256}{WHOLE}"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make the folder, without what killed processes left, and raise InputError if it cannot be written to."""
        with storage_errors(f"{self.folder}, the cache of remote shards (LIGHTNING_META_CACHE names another)"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_partial()
            yield

    def _copy(self, url: str, shard: Source, aside: Path) -> None:
        """Fetch a shard, a second time if its checksum is wrong, because bytes may be lost on the way."""
        for _ in range(2):
            fetch(url, aside)
            with aside.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256:
                    return
        raise DamageError(
            f"{url} came with {aside.stat().st_size} bytes and another checksum than the index says ({shard.bytes}"
            " bytes): it is truncated or belongs to another version of the set. Copy the set again, or skip (on_error: skip)"
        )

    @contextmanager
    def _aside(self, path: Path) -> Iterator[Path]:
        """Give a file to copy to, locked for as long as this process lives, and remove it at the end."""
        aside = path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            with aside.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield aside
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def _remove_partial(self) -> None:
        """Remove partial copies of processes that were killed."""
        for path in self.folder.glob("*.partial"):
            with suppress(OSError):  # it is locked, or no longer there
                if time.time() - path.stat().st_mtime > YOUNG:
                    with path.open("rb") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink()


def _size_and_use(path: Path) -> list[tuple[int, float]]:
    """Return the bytes that a copy takes on the disk and the time of its last use; nothing if another process removed it."""
    try:
        about = os.stat(path)
    except OSError:
        return []
    return [(about.st_blocks * 512, about.st_mtime)]
