"""Read a shard set in place: any image of any class, by its offset in the tar."""

import hashlib
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.cache import ShardCache
from datamodules.index import Blob, Record, is_remote, read_index
from lightning_meta.core import InputError

OnError = Literal["raise", "skip"]


class ShardSet:
    """The class records below `root`, a folder or any fsspec URL (http, https, s3, ...).

    A local shard is memory-mapped; a remote one is first copied whole into `cache`. Opening checks every local shard's
    length and the tar header before every record; a record's checksum is checked when it is first read. Damage raises
    InputError, or with `on_error="skip"` is passed over and counted.

    `damaged` [records] is shared with loader workers.
    """

    def __init__(self, root: str, on_error: OnError = "raise", cache: ShardCache | None = None):
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error is {on_error!r}; choose raise or skip")
        self.root, self.on_error = root.rstrip("/"), on_error
        self.index = read_index(self.root)
        self.cache = (cache or ShardCache()) if is_remote(self.root) else None
        self.damaged = torch.zeros(len(self.index.records), dtype=torch.bool).share_memory_()
        self._maps: dict[int, NDArray[np.uint8]] = {}
        self._checked: set[tuple[int, int]] = set()
        if self.cache is None:
            self._check_local()

    def count(self, record: int) -> int:
        return self.index.records[record].count

    def images(self, record: int, which: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images [len(which), channels, size, size] of a class. Raises InputError where the record is damaged."""
        entry, preprocess = self.index.records[record], self.index.preprocess
        if self.index.encoded:
            name = f"of class {entry.name} in {self._path(entry)}"
            blobs = [self._bytes(record, int(i)) for i in which]
            return np.stack([preprocess(blob.tobytes(), name) for blob in blobs])
        return self._bytes(record, 0).reshape(entry.count, *preprocess.shape)[which]

    def verify(self) -> list[str]:
        """Read everything and compare it with the index: one line for each shard or record that differs."""
        found: dict[int, str] = {}
        for number, shard in enumerate(self.index.shards):
            try:
                if hashlib.sha256(self._map(number)).hexdigest() != shard.sha256:
                    found[number] = f"{self.root}/{shard.path}: the checksum is not that of the index"
            except InputError as error:
                found[number] = str(error)
        return list(found.values())

    def forget(self, record: int) -> None:
        """Mark a record as damaged."""
        self.damaged[record] = True

    def report(self) -> str | None:
        """How many records were skipped, and the first few names."""
        skipped = [record.name for record, bad in zip(self.index.records, self.damaged.tolist(), strict=True) if bad]
        if not skipped:
            return None
        names = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        return (
            f"{len(skipped)} of {len(self.index.records)} classes of {self.root} are damaged and were skipped: {names}"
        )

    def _path(self, entry: Record) -> str:
        return f"{self.root}/{self.index.shards[entry.shard].path}"

    def _map(self, number: int) -> NDArray[np.uint8]:
        """A shard as an array of bytes, memory-mapped. Raises InputError where it is missing or of another length."""
        if number not in self._maps:
            shard = self.index.shards[number]
            where = f"{self.root}/{shard.path}"
            path = Path(where) if self.cache is None else self.cache.fetch(where, shard)
            length = path.stat().st_size if path.is_file() else None
            if length != shard.bytes:
                state = "missing" if length is None else f"{length} bytes long"
                raise InputError(
                    f"shard {where} is {state}; the index says {shard.bytes} bytes. Copy or write the shards again,"
                    " or skip what is damaged (on_error: skip)"
                )
            self._maps[number] = np.memmap(path, np.uint8, mode="r")
            if self.cache is not None:  # the window moves on; what left the cache need not stay mapped
                while len(self._maps) > self.cache.shards:
                    self._maps.pop(next(iter(self._maps)))
        return self._maps[number]

    def _bytes(self, record: int, which: int) -> NDArray[np.uint8]:
        entry = self.index.records[record]
        blob = entry.blobs[which]
        data = self._map(entry.shard)[blob.offset : blob.offset + blob.bytes]
        if (record, which) not in self._checked:
            if zlib.crc32(data) != blob.crc32:
                raise InputError(
                    f"class {entry.name} in {self._path(entry)} is damaged: its checksum is not that of the index. Copy"
                    " or write the shards again, or skip what is damaged (on_error: skip)"
                )
            self._checked.add((record, which))
        return data

    def _check_local(self) -> None:
        for number, entry in enumerate(self.index.records):
            try:
                shard = self._map(entry.shard)
                if not all(_is_member(shard, blob) for blob in entry.blobs):
                    raise InputError(
                        f"the index disagrees with {self._path(entry)}: class {entry.name} is not where it says. They are"
                        " not of one writing: write the shards again, or skip what is damaged (on_error: skip)"
                    )
            except InputError:
                if self.on_error == "raise":
                    raise
                self.forget(number)


def _is_member(shard: NDArray[np.uint8], blob: Blob) -> bool:
    """Whether the blob ends where a tar member ends whose header stands right before it (but for an npy header)."""
    header = (blob.offset - 512) // 512 * 512
    if header < 0 or bytes(shard[header + 257 : header + 262]) != b"ustar":
        return False
    size = bytes(shard[header + 124 : header + 136]).rstrip(b"\0 ")
    return size.isdigit() and header + 512 + int(size, 8) == blob.offset + blob.bytes
