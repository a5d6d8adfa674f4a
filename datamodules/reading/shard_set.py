"""Reading of a shard set in place: any image of any class, by its offset in the tar."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.index.shard_index import Record, is_remote, read_index
from datamodules.reading.cache import ShardCache
from datamodules.reading.damage import DamageError
from datamodules.reading.shard_file import REMEDY, ShardFile
from datamodules.reading.tar_members import is_member
from lightning_meta.core import InputError

OnError = Literal["raise", "skip"]
Images = NDArray[np.generic]  # uint8; float32 for a set of features
OPEN = 64  # local shards of a set that are open at a time; the usual limit of a process is 1,024 files, or 256
SMALL = 2**17  # bytes up to which the array of a class is read whole, which is faster than row by row


class ShardSet:
    """A shard set that is open for reading: class records in a folder or at any fsspec URL (http, https, s3, ...).

    A local shard is read in place, with at most `OPEN` open at a time; a remote one is first copied whole into the cache.
    Opening the set checks the length of every local shard and the tar headers of every record; the checksum of a record is
    checked when it is first read.

    Example:
        shards = ShardSet("shards/glyphs")
        record = shards.index.split("test")[0]  # the number of the first test class
        shards.index.records[record].name, shards.count(record)
        images = shards.images(record, np.arange(3))  # uint8 [3, channels, size, size]
        shards.verify()  # reads everything; an empty list if nothing is damaged

    Args:
        root: Folder or URL of the shards.
        on_error: What to do about damaged records: `raise` DamageError, or `skip` and count them. A network or disk that
            fails raises InputError in both cases.
        cache: Where copies of remote shards are kept.

    Attributes:
        index: The index of the set.
        damaged: Bool [records], whether each record is known to be damaged; shared with loader workers.
    """

    def __init__(self, root: str, on_error: OnError = "raise", cache: ShardCache | None = None):
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error is {on_error!r}: choose raise or skip")
        self.root, self.on_error = root.rstrip("/"), on_error
        self.index = read_index(self.root)
        self.cache = (cache or ShardCache()) if is_remote(self.root) else None
        self.damaged = torch.zeros(len(self.index.records), dtype=torch.bool).share_memory_()
        self._files: dict[int, ShardFile] = {}  # the most recently used comes last
        self._lost: dict[int, str] = {}
        self._checked: set[tuple[int, int]] = set()
        if self.cache is None:
            self._check_places()

    def count(self, record: int) -> int:
        """Return the number of images of a class."""
        return self.index.records[record].count

    def images(self, record: int, which: NDArray[np.integer]) -> Images:
        """Read some images of a class.

        Args:
            record: The number of the class, as in `index.splits`.
            which: Numbers of images within the class, from 0 to `count(record) - 1`.

        Returns:
            uint8 images [len(which), channels, size, size]; for a set of features, float32 [len(which), size].

        Raises:
            DamageError: If the record is damaged.
        """
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
        """Read everything and compare it with the index; return a line for every damaged record or shard."""
        records: dict[int, list[int]] = {}
        for number, entry in enumerate(self.index.records):
            records.setdefault(entry.shard, []).append(number)
        return [line for shard in range(len(self.index.shards)) for line in self._verify(shard, records.get(shard, []))]

    def forget(self, record: int) -> None:
        """Mark a record as damaged."""
        self.damaged[record] = True

    def report(self) -> str | None:
        """Return a line with the number of skipped records and the first few names, or None if there are none."""
        skipped = [record.name for record, bad in zip(self.index.records, self.damaged.tolist(), strict=True) if bad]
        if not skipped:
            return None
        names = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        return (
            f"{len(skipped)} of {len(self.index.records)} classes of {self.root} are damaged and were skipped: {names}"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a loader process that is not forked; it opens the shards again."""
        return self.__dict__ | {"_files": {}}

    def _path(self, entry: Record) -> str:
        return f"{self.root}/{self.index.shards[entry.shard].path}"

    def _file(self, number: int) -> ShardFile:
        """Return an open shard; raise DamageError if it is not complete, after one attempt."""
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
            raise DamageError(f"shard {where} is missing; the index says {shard.bytes} bytes. {REMEDY}") from error
        except OSError as error:
            raise InputError(
                f"shard {where} cannot be opened ({error.strerror}): check that it may be read, and `ulimit -n`"
            ) from error

    def _checked_file(self, record: int, which: int) -> ShardFile:
        """Return the open shard of an image whose checksum is right. A damaged copy of a remote shard is fetched again."""
        entry = self.index.records[record]
        file = self._file(entry.shard)
        if (record, which) in self._checked:
            return file
        if self.cache is not None and not self._is_intact_blob(file, entry, which):
            self._discard(entry.shard)
            file = self._file(entry.shard)
        if not self._is_intact_blob(file, entry, which):
            raise DamageError(
                f"class {entry.name} in {self._path(entry)} is damaged: its checksum is not that of the index. {REMEDY}"
            )
        self._checked.add((record, which))
        return file

    def _is_intact_blob(self, file: ShardFile, entry: Record, which: int) -> bool:
        offset, size, crc32 = entry.blobs[which]
        return file.crc32(offset, size) == crc32

    def _discard(self, number: int) -> None:
        """Remove the copy of a remote shard, so that it is fetched again when it is next needed."""
        assert self.cache is not None
        del self._files[number]
        self.cache.discard(self.index.shards[number])

    def _check_places(self) -> None:
        """Check the place of every record; raise DamageError or skip, as `on_error` says."""
        for number in range(len(self.index.records)):
            try:
                self._check_place(number)
            except DamageError:
                if self.on_error == "raise":
                    raise
                self.forget(number)

    def _check_place(self, record: int) -> None:
        """Raise DamageError if a tar header shows that the record is not where the index says."""
        entry = self.index.records[record]
        file = self._file(entry.shard)
        if not all(is_member(file, blob.offset, blob.bytes, f"{record:06d}.") for blob in entry.blobs):
            raise DamageError(
                f"the index disagrees with {self._path(entry)}: class {entry.name} is not where it says, so they do not belong"
                f" to one set. {REMEDY}"
            )

    def _verify(self, shard: int, records: list[int]) -> list[str]:
        """Return a line for every damaged record of a shard, or one for the shard itself."""
        damage = []
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
                damage.append(str(error))
        if not intact and not damage:
            damage = [f"shard {self.root}/{self.index.shards[shard].path} is damaged, except its images. {REMEDY}"]
        return damage

    def _is_intact(self, shard: int) -> bool:
        digest, (_, size, sha256) = hashlib.sha256(), self.index.shards[shard]
        for piece in self._file(shard).pieces(0, size):
            digest.update(piece)
        return digest.hexdigest() == sha256


def open_images(root: str) -> ShardSet:
    """Open a shard set of images; raise InputError if it holds features."""
    shards = ShardSet(root)
    if shards.index.features:
        raise InputError(f"{root} holds features, not pictures to look at: give the shard set that they were made from")
    return shards
