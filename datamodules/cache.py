"""A bounded folder of shards copied from elsewhere."""

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import fsspec
import numpy as np
from numpy.typing import NDArray

from datamodules.index import Shard
from lightning_meta.core import InputError


class ShardCache:
    """Remote shards, copied whole and checked by SHA-256; at most `shards` files stay, the least recently used go first.

    `folder` is by default LIGHTNING_META_CACHE or ~/.cache/lightning-meta. Processes of one machine share it: a shard is
    written aside and renamed, and a file that another process still has mapped stays readable to it.
    """

    def __init__(self, shards: int = 64, folder: str | None = None):
        if shards < 1:
            raise InputError(f"the cache must hold 1 shard or more, not {shards}")
        default = os.environ.get("LIGHTNING_META_CACHE", "~/.cache/lightning-meta")
        self.shards, self.folder = shards, Path(folder or default).expanduser()

    def open(self, url: str, shard: Shard, in_use: Sequence[Shard] = ()) -> NDArray[np.uint8]:
        """The bytes of `url`, memory-mapped from a local copy. The copies of shards `in_use` stay.

        Raises InputError where it cannot be copied or is not what the index says.
        """
        path = self._path(shard)
        with suppress(FileNotFoundError, ValueError):  # there is no copy, or an empty one
            os.utime(path)
            copy = np.memmap(path, np.uint8, mode="r")
            if len(copy) == shard.bytes:
                return copy
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            _copy(url, aside)
            with aside.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != shard.sha256:
                raise InputError(
                    f"{url} came with {aside.stat().st_size} bytes and another checksum than the index says ({shard.bytes}"
                    " bytes): it is truncated or of another writing. Copy the set again, or skip (on_error: skip)"
                )
            copy = np.memmap(aside, np.uint8, mode="r")  # before another process can evict it
            aside.rename(path)
        finally:
            aside.unlink(missing_ok=True)
        self._evict({path, *map(self._path, in_use)})
        return copy

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.tar"

    def _evict(self, keep: set[Path]) -> None:
        def last_use(path: Path) -> float:
            try:
                return path.stat().st_mtime
            except FileNotFoundError:  # another process was first
                return 0.0

        copies = list(self.folder.glob("*.tar"))
        old = sorted((path for path in copies if path not in keep), key=last_use)
        for path in old[: max(0, len(copies) - self.shards)]:
            path.unlink(missing_ok=True)


def _copy(url: str, target: Path) -> None:
    try:
        storage, path = fsspec.url_to_fs(url)
        storage.get_file(path, str(target))
    except Exception as error:  # every kind of storage raises its own
        raise InputError(f"cannot copy {url} here: {error}. Check the address, the network and the disk") from error
