"""A bounded folder of shards copied from elsewhere."""

import hashlib
import os
import shutil
import uuid
from pathlib import Path

import fsspec

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

    def fetch(self, url: str, shard: Shard) -> Path:
        """The local copy of `url`. Raises InputError where it cannot be fetched or is not what the index says."""
        path = self.folder / f"{shard.sha256}.tar"
        if path.is_file() and path.stat().st_size == shard.bytes:
            path.touch()
            return path
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            with fsspec.open(url, "rb") as source, aside.open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)  # type: ignore[arg-type]  # fsspec leaves its type open
            with aside.open("rb") as copy:
                digest = hashlib.file_digest(copy, "sha256").hexdigest()
            if digest != shard.sha256:
                raise InputError(
                    f"{url} came with {aside.stat().st_size} bytes and another checksum than the index says"
                    f" ({shard.bytes} bytes): it is truncated or was written again. Copy the set again, or skip (on_error: skip)"
                )
            aside.rename(path)
        except (OSError, ValueError, ImportError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"cannot read {url}: {error}. Check the address and the network") from error
        finally:
            aside.unlink(missing_ok=True)
        self._evict(keep=path)
        return path

    def _evict(self, keep: Path) -> None:
        def last_use(path: Path) -> float:
            try:
                return path.stat().st_mtime
            except FileNotFoundError:  # another process was first
                return 0.0

        copies = sorted((path for path in self.folder.glob("*.tar") if path != keep), key=last_use)
        for path in copies[: max(0, len(copies) + 1 - self.shards)]:
            path.unlink(missing_ok=True)
