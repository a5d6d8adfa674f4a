"""Read a shard set in place: any image of any class, by its offset in the tar."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.index.shard_index import Record, is_remote, read_index
from datamodules.reading.cache import ShardCache
from datamodules.reading.damage import DamageError
from datamodules.reading.shard_file import MEND, ShardFile
from lightning_meta.core import InputError

OnError = Literal["raise", "skip"]
Images = NDArray[np.generic]  # uint8; float32 of a set of features
OPEN = 64  # local shards of a set that are open at a time: a process may have 1,024 files open by default, or 256
SMALL = 2**17  # bytes up to which the array of a class is read whole: that is faster than row by row


class ShardSet:
    """The class records below `root`, a folder or any fsspec URL (http, https, s3, ...).

    A local shard is read in place, `OPEN` of them open at a time; a remote one is first copied whole into `cache`. Opening
    checks every local shard's length and the tar headers of every record; a record's checksum is checked when it is first
    read. Damage raises DamageError, or with `on_error="skip"` is passed over and counted; that a network or a disk fails
    raises InputError in both cases.

    `damaged` [records] is shared with loader workers.
    """

    def __init__(self, root: str, on_error: OnError = "raise", cache: ShardCache | None = None):
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error is {on_error!r}; choose raise or skip")
        self.root, self.on_error = root.rstrip("/"), on_error
        self.index = read_index(self.root)
        self.cache = (cache or ShardCache()) if is_remote(self.root) else None
        self.damaged = torch.zeros(len(self.index.records), dtype=torch.bool).share_memory_()
        self._files: dict[int, ShardFile] = {}  # the last used is the last
        self._lost: dict[int, str] = {}
        self._checked: set[tuple[int, int]] = set()
        if self.cache is None:
            self._check_places()

    def count(self, record: int) -> int:
        return self.index.records[record].count

    def images(self, record: int, which: NDArray[np.integer]) -> Images:
        """Images [len(which), channels, size, size] of a class, of a set of features vectors [len(which), size]. Raises
        DamageError where the record is damaged."""
        entry, preprocess = self.index.records[record], self.index.preprocess
        if self.index.encoded:
            name = f"of class {entry.name} in {self._path(entry)}"
            files = [self._checked_file(record, i) for i in which.tolist()]
            blobs = [entry.blobs[i] for i in which.tolist()]
            encoded = [file.read(blob.offset, blob.bytes) for file, blob in zip(files, blobs, strict=True)]
            return np.stack([preprocess(data, name) for data in encoded])
        features, file, blob = self.index.features, self._checked_file(record, 0), entry.blobs[0]
        shape, kind = ((features.size,), "<f4") if features else (preprocess.shape, "u1")
        if blob.bytes <= SMALL:
            return np.frombuffer(file.read(blob.offset, blob.bytes), kind).reshape(entry.count, *shape)[which]
        data = file.rows(blob.offset, blob.bytes // entry.count, which)
        return np.frombuffer(data, kind).reshape(len(which), *shape)

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
        """For a loader process that is not forked: it opens the shards anew."""
        return self.__dict__ | {"_files": {}}

    def _path(self, entry: Record) -> str:
        return f"{self.root}/{self.index.shards[entry.shard].path}"

    def _file(self, number: int) -> ShardFile:
        """A shard, open. Raises DamageError where it cannot be had whole; tried once."""
        if number in self._lost:
            raise DamageError(self._lost[number])
        file = self._files.pop(number, None)
        if file is None:
            limit = OPEN if self.cache is None else self.cache.shards
            while len(self._files) >= limit:
                self._files.pop(next(iter(self._files)))
            try:
                file = self._open(number)
            except DamageError as error:
                self._lost[number] = str(error)
                raise
        elif self.cache is not None:
            file.touch()
        self._files[number] = file
        return file

    def _open(self, number: int) -> ShardFile:
        shard = self.index.shards[number]
        where = f"{self.root}/{shard.path}"
        if self.cache is not None:
            return self.cache.open(where, shard, in_use=[self.index.shards[opened] for opened in self._files])
        try:
            return ShardFile(Path(where), shard.bytes)
        except FileNotFoundError as error:
            raise DamageError(f"shard {where} is missing; the index says {shard.bytes} bytes. {MEND}") from error
        except OSError as error:
            raise InputError(
                f"shard {where} cannot be opened ({error.strerror}): check that it may be read, and `ulimit -n`"
            ) from error

    def _checked_file(self, record: int, which: int) -> ShardFile:
        """The shard of an image, of which the checksum is right. A damaged copy of a remote one is fetched again."""
        entry = self.index.records[record]
        file = self._file(entry.shard)
        if (record, which) in self._checked:
            return file
        if self.cache is not None and not self._is_right(file, entry, which):
            self._discard(entry.shard)
            file = self._file(entry.shard)
        if not self._is_right(file, entry, which):
            raise DamageError(
                f"class {entry.name} in {self._path(entry)} is damaged: its checksum is not that of the index. {MEND}"
            )
        self._checked.add((record, which))
        return file

    def _is_right(self, file: ShardFile, entry: Record, which: int) -> bool:
        offset, size, crc32 = entry.blobs[which]
        return file.crc32(offset, size) == crc32

    def _discard(self, number: int) -> None:
        """Have a remote shard fetched again when it is next asked for."""
        assert self.cache is not None
        del self._files[number]
        self.cache.discard(self.index.shards[number])

    def _check_places(self) -> None:
        for number in range(len(self.index.records)):
            try:
                self._check_place(number)
            except DamageError:
                if self.on_error == "raise":
                    raise
                self.forget(number)

    def _check_place(self, record: int) -> None:
        """DamageError where a tar header tells that the record is not where the index says."""
        entry = self.index.records[record]
        file = self._file(entry.shard)
        if not all(_is_member(file, blob.offset, blob.bytes, f"{record:06d}.") for blob in entry.blobs):
            raise DamageError(
                f"the index disagrees with {self._path(entry)}: class {entry.name} is not where it says, so they are not of"
                f" one writing. {MEND}"
            )

    def _verify(self, shard: int, records: list[int]) -> list[str]:
        found = []
        try:
            intact = self._is_intact(shard)
            if self.cache is not None and not intact:
                self._discard(shard)
                intact = self._is_intact(shard)
        except DamageError as error:
            return [str(error)]
        for record in records:
            try:
                self._check_place(record)
                for which in range(len(self.index.records[record].blobs)):
                    self._checked_file(record, which)
            except DamageError as error:
                found.append(str(error))
        if not intact and not found:
            found = [f"shard {self.root}/{self.index.shards[shard].path} is damaged, but for its images. {MEND}"]
        return found

    def _is_intact(self, shard: int) -> bool:
        digest, (_, size, sha256) = hashlib.sha256(), self.index.shards[shard]
        for piece in self._file(shard).pieces(0, size):
            digest.update(piece)
        return digest.hexdigest() == sha256


def _is_member(file: ShardFile, offset: int, size: int, prefix: str) -> bool:
    """Whether a blob ends where a tar member of such a name ends, whose header stands before it (and an npy header)."""
    start = (offset - tarfile.BLOCKSIZE) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
    if start < 0:
        return False
    header, end = file.read(start, tarfile.BLOCKSIZE), offset + size - start - tarfile.BLOCKSIZE
    if not header.startswith(prefix.encode()) or header[257:262] != b"ustar":
        return False
    digits = header[124:136].rstrip(b"\0 ")
    if digits and not digits.strip(b"01234567") and int(digits, 8) == end:
        return True
    extended = (
        file.read(start - 2 * tarfile.BLOCKSIZE, 2 * tarfile.BLOCKSIZE) if start >= 2 * tarfile.BLOCKSIZE else b""
    )
    return end in (_member_size(header), _member_size(extended + header))


def _member_size(header: bytes) -> int | None:
    """The size that a tar header tells which is no plain number of octal digits: that of a member of 8 GiB or more is in
    base 256, or in a record of its own."""
    try:
        with tarfile.open(fileobj=io.BytesIO(header), mode="r:") as tar:
            member = tar.next()
    except tarfile.TarError:
        return None
    return member and member.size
