"""A cache of remote shards: a folder with a bounded number of local copies."""

import fcntl
import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
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


class ShardCache:
    """Local copies of remote shards, copied whole and verified by SHA-256.

    The least recently used copies are removed first. Processes of one machine share the folder: a shard is written aside
    and renamed, and a file that another process still has open stays readable to it. Partial copies of a killed process
    are removed when the next shard is copied.

    Args:
        shards: The largest number of copies to keep.
        folder: Where to keep them; by default LIGHTNING_META_CACHE or ~/.cache/lightning-meta.
    """

    def __init__(self, shards: int = 64, folder: str | None = None):
        if shards < 1:
            raise InputError(f"the cache must hold 1 shard or more, not {shards}")
        self.shards, self.folder = shards, cache_folder(folder)

    @property
    def window(self) -> int:
        """Number of shards that episodes come from at a time, if a split has more than the cache holds.

        It is one less than the size of the cache, so that the next shard does not replace one that is still in use.
        """
        return max(1, self.shards - 1)

    def open(self, url: str, shard: Source, in_use: Sequence[Source] = ()) -> ShardFile:
        """Return a local copy of a shard, open, copying it first if there is none.

        Args:
            url: Where the shard is.
            shard: What the index says about it.
            in_use: Shards whose copies must not be removed to make room.

        Raises:
            DamageError: If the shard at `url` is not what the index says.
            InputError: If it cannot be copied.
        """
        path = self._path(shard)
        if shard.sha256 is None:
            raise InputError(f"{url} cannot be copied: its index does not say its checksum. Index it again")
        with suppress(OSError, InputError):  # there is no copy, or it is incomplete
            copy = ShardFile(path, shard.bytes)
            copy.touch()
            return copy
        with storage_errors(f"{self.folder}, the cache of remote shards (LIGHTNING_META_CACHE names another)"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_partial()
            with self._aside(path) as aside:
                self._copy(url, shard, aside)
                copy = ShardFile(aside, shard.bytes)  # before another process can evict it
                aside.rename(path)
            self._evict({path, *map(self._path, in_use)})
        return copy

    def discard(self, shard: Source) -> None:
        """Remove a damaged copy."""
        with storage_errors(self.folder):
            self._path(shard).unlink(missing_ok=True)

    def _path(self, shard: Source) -> Path:
        return self.folder / f"{shard.sha256}.tar"

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

    def _evict(self, keep: set[Path]) -> None:
        """Remove the least recently used copies, except those to keep, until the cache is within its bound."""

        def last_use(path: Path) -> float:
            try:
                return path.stat().st_mtime
            except FileNotFoundError:  # another process removed it first
                return 0.0

        copies = list(self.folder.glob("*.tar"))
        partial = sum(1 for _ in self.folder.glob("*.partial"))
        old = sorted((path for path in copies if path not in keep), key=last_use)
        for path in old[: max(0, len(copies) + partial - self.shards)]:
            path.unlink(missing_ok=True)
