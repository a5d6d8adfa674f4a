"""Read a shard set in place: any image of any class, by its offset in the tar."""

import hashlib
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.cache import ShardCache
from datamodules.index import Blob, Record, is_remote, read_index
from lightning_meta.core import InputError

OnError = Literal["raise", "skip"]
Images = NDArray[np.generic]  # uint8; float32 of a set of features
MEND = "Copy or write the shards again, or skip what is damaged (on_error: skip)"


class ShardSet:
    """The class records below `root`, a folder or any fsspec URL (http, https, s3, ...).

    A local shard is memory-mapped; a remote one is first copied whole into `cache`. Opening checks every local shard's
    length and the tar headers of every record; a record's checksum is checked when it is first read. Damage raises
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
        self._lost: dict[int, str] = {}
        self._checked: set[tuple[int, int]] = set()
        if self.cache is None:
            self._check_places()

    def count(self, record: int) -> int:
        return self.index.records[record].count

    def images(self, record: int, which: NDArray[np.integer]) -> Images:
        """Images [len(which), channels, size, size] of a class, of a set of features vectors [len(which), size]. Raises
        InputError where the record is damaged."""
        entry, preprocess = self.index.records[record], self.index.preprocess
        if self.index.encoded:
            name = f"of class {entry.name} in {self._path(entry)}"
            blobs = [self._bytes(record, int(i)) for i in which]
            return np.stack([preprocess(blob.tobytes(), name) for blob in blobs])
        data = self._bytes(record, 0)
        if self.index.features:
            return data.view("<f4").reshape(entry.count, self.index.features.size)[which]
        return data.reshape(entry.count, *preprocess.shape)[which]

    def verify(self) -> list[str]:
        """Read everything and compare it with the index: a line for every damaged record or shard."""
        records: dict[int, list[int]] = {}
        for number, entry in enumerate(self.index.records):
            records.setdefault(entry.shard, []).append(number)
        return [line for shard in range(len(self.index.shards)) for line in self._verify(shard, records.get(shard, []))]

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

    def __getstate__(self) -> dict[str, Any]:
        """For a loader process that is not forked: it maps the shards anew."""
        return self.__dict__ | {"_maps": {}}

    def _path(self, entry: Record) -> str:
        return f"{self.root}/{self.index.shards[entry.shard].path}"

    def _map(self, number: int) -> NDArray[np.uint8]:
        """A shard as an array of bytes, memory-mapped. Raises InputError where it cannot be had whole; tried once."""
        if number in self._lost:
            raise InputError(self._lost[number])
        if number not in self._maps:
            try:
                self._maps[number] = np.asarray(self._open(number))  # sliced in half the time of a memmap
            except InputError as error:
                self._lost[number] = str(error)
                raise
        elif self.cache is not None:
            self._maps[number] = self._maps.pop(number)  # the last used is the last to go
        return self._maps[number]

    def _open(self, number: int) -> NDArray[np.uint8]:
        shard = self.index.shards[number]
        where = f"{self.root}/{shard.path}"
        if self.cache is not None:
            while len(self._maps) >= self.cache.shards:
                self._maps.pop(next(iter(self._maps)))
            return self.cache.open(where, shard, in_use=[self.index.shards[mapped] for mapped in self._maps])
        length = Path(where).stat().st_size if Path(where).is_file() else None
        if length != shard.bytes:
            state = "missing" if length is None else f"{length} bytes long"
            raise InputError(f"shard {where} is {state}; the index says {shard.bytes} bytes. {MEND}")
        return np.memmap(where, np.uint8, mode="r")

    def _bytes(self, record: int, which: int) -> NDArray[np.uint8]:
        entry = self.index.records[record]
        blob = entry.blobs[which]
        data = self._map(entry.shard)[blob.offset : blob.offset + blob.bytes]
        if (record, which) not in self._checked:
            if zlib.crc32(data.data) != blob.crc32:
                raise InputError(
                    f"class {entry.name} in {self._path(entry)} is damaged: its checksum is not that of the index. {MEND}"
                )
            self._checked.add((record, which))
        return data

    def _check_places(self) -> None:
        for number in range(len(self.index.records)):
            try:
                self._check_place(number)
            except InputError:
                if self.on_error == "raise":
                    raise
                self.forget(number)

    def _check_place(self, record: int) -> None:
        """InputError where a tar header tells that the record is not where the index says."""
        entry = self.index.records[record]
        shard = self._map(entry.shard)
        if not all(_is_member(shard, blob, f"{record:06d}.") for blob in entry.blobs):
            raise InputError(
                f"the index disagrees with {self._path(entry)}: class {entry.name} is not where it says, so they are not of"
                f" one writing. {MEND}"
            )

    def _verify(self, shard: int, records: list[int]) -> list[str]:
        found = []
        try:
            intact = hashlib.sha256(self._map(shard).data).hexdigest() == self.index.shards[shard].sha256
        except InputError as error:
            return [str(error)]
        for record in records:
            try:
                self._check_place(record)
                for which in range(len(self.index.records[record].blobs)):
                    self._bytes(record, which)
            except InputError as error:
                found.append(str(error))
        if not intact and not found:
            found = [f"shard {self.root}/{self.index.shards[shard].path} is damaged, but for its images. {MEND}"]
        return found


def _is_member(shard: NDArray[np.uint8], blob: Blob, prefix: str) -> bool:
    """Whether the blob ends where a tar member of such a name ends, whose header stands before it (and an npy header)."""
    start = (blob.offset - 512) // 512 * 512
    header = shard[start : start + 512].tobytes() if start >= 0 else b""
    size = header[124:136].rstrip(b"\0 ")
    named = header.startswith(prefix.encode()) and header[257:262] == b"ustar"
    return named and size.isdigit() and start + 512 + int(size, 8) == blob.offset + blob.bytes
