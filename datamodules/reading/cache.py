"""A bounded folder of shards copied from elsewhere."""

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from datamodules.index.shard_index import Shard
from datamodules.reading.damage import DamageError
from datamodules.reading.remote import fetch
from datamodules.reading.shard_file import ShardFile
from lightning_meta.core import InputError
from lightning_meta.core.files import storage_errors

YOUNG = 5.0  # seconds in which a copy that was begun is left alone: its lock may not be there yet


class ShardCache:
    """Remote shards, copied whole and checked by SHA-256; at most `shards` files stay, the least recently used go first.

    `folder` is by default LIGHTNING_META_CACHE or ~/.cache/lightning-meta. Processes of one machine share it: a shard is
    written aside and renamed, and a file that another process still has open stays readable to it. What a killed
    process left half written is removed with the next copy.
    """

    def __init__(self, shards: int = 64, folder: str | None = None):
        if shards < 1:
            raise InputError(f"the cache must hold 1 shard or more, not {shards}")
        default = os.environ.get("LIGHTNING_META_CACHE", "~/.cache/lightning-meta")
        self.shards, self.folder = shards, Path(folder or default).expanduser()

    @property
    def window(self) -> int:
        """How many shards episodes come from at a time, if there are more than the cache holds: one fewer than that, so
        that the next one pushes out none of those still in use."""
        return max(1, self.shards - 1)

    def open(self, url: str, shard: Shard, in_use: Sequence[Shard] = ()) -> ShardFile:
        """A local copy of `url`. The copies of shards `in_use` stay.

        Raises DamageError where `url` is not what the index says, and InputError where it cannot be copied.
        """
        path = self._path(shard)
        with suppress(OSError, InputError):  # there is no copy, or it was cut off
            copy = ShardFile(path, shard.bytes)
            copy.touch()
            return copy
        with storage_errors(f"{self.folder}, the cache of remote shards (LIGHTNING_META_CACHE names another)"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_left()
            with self._aside(path) as aside:
                self._copy(url, shard, aside)
                copy = ShardFile(aside, shard.bytes)  # before another process can evict it
                aside.rename(path)
            self._evict({path, *map(self._path, in_use)})
        return copy

    def discard(self, shard: Shard) -> None:
        """Remove a copy that is damaged."""
        with storage_errors(self.folder):
            self._path(shard).unlink(missing_ok=True)

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.tar"

    def _copy(self, url: str, shard: Shard, aside: Path) -> None:
        """Fetch, once more if the checksum is another: bytes may be lost on the way."""
        for _ in range(2):
            fetch(url, aside)
            with aside.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256:
                    return
        raise DamageError(
            f"{url} came with {aside.stat().st_size} bytes and another checksum than the index says ({shard.bytes}"
            " bytes): it is truncated or of another writing. Copy the set again, or skip (on_error: skip)"
        )

    @contextmanager
    def _aside(self, path: Path) -> Iterator[Path]:
        """A place to copy to, locked as long as this process lives."""
        aside = path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            with aside.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield aside
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def _remove_left(self) -> None:
        """Remove copies that a killed process began."""
        for path in self.folder.glob("*.partial"):
            with suppress(OSError):  # it is locked, or gone
                if time.time() - path.stat().st_mtime > YOUNG:
                    with path.open("rb") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink()

    def _evict(self, keep: set[Path]) -> None:
        def last_use(path: Path) -> float:
            try:
                return path.stat().st_mtime
            except FileNotFoundError:  # another process was first
                return 0.0

        copies = list(self.folder.glob("*.tar"))
        begun = sum(1 for _ in self.folder.glob("*.partial"))
        old = sorted((path for path in copies if path not in keep), key=last_use)
        for path in old[: max(0, len(copies) + begun - self.shards)]:
            path.unlink(missing_ok=True)
