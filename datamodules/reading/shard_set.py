"""Reading of a set of images in place: any image of any class, by its place in a tar or another file."""

import copy
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.index.header import Root
from datamodules.index.opening import is_remote, read_index
from datamodules.index.shard_index import Blob
from datamodules.reading.cache import ShardCache
from datamodules.reading.damage import DamageError
from datamodules.reading.named_set import set_place
from datamodules.reading.parquet_store import ParquetFiles
from datamodules.reading.ranges import Ranges
from datamodules.reading.shard_file import REMEDY, ShardFile
from datamodules.reading.stores import ByteRange, Copies, Folder, Opened, Store
from datamodules.reading.verify import verify
from lightning_meta.core import InputError

OnError = Literal["raise", "skip"]
Images = NDArray[Any]  # uint8; float32 for a set of features
Wanted = tuple[int, NDArray[np.integer]]  # the number of a class, and those of some of its images
EARLY = 1024  # local sources up to which their lengths are looked at when the set is opened


class ShardSet:
    """A set of images that is open for reading: classes in a folder or at any fsspec URL (http, https, s3, ...).

    Files of this machine are read in place, with at most 64 open at a time. Of a remote set that fits into the cache, whole
    shards are copied there; of a larger one, only the ranges of bytes that hold the images that are asked for. Opening the
    set reads no image, whatever its size; it looks at the lengths of the files only if there are no more than 1,024 of them,
    so that a missing one is noticed early. The checksum of an image, or of some images of an array, is checked when it is
    first read.

    Example:
        shards = ShardSet("shards/glyphs")
        record = shards.index.split("test")[0]  # the number of the first test class
        shards.index.records[record].name, shards.count(record)
        images = shards.images(record, np.arange(3))  # uint8 [3, channels, size, size]
        shards.verify()  # reads everything; an empty list if nothing is damaged

    Args:
        root: Folder or URL of the index.
        on_error: What to do about damaged classes: `raise` DamageError, or `skip` and count them. A network or disk that
            fails raises InputError in both cases.
        cache: Where copies of remote shards are kept.
        roots: For each root that the index names, the folder or URL where it is.

    Attributes:
        index: The index of the set.
        damaged: Bool [classes], whether each class is known to be damaged; shared with loader workers.

    Raises:
        InputError: If there is no index, it is damaged, or `roots` does not name the same roots.
    """

    def __init__(
        self,
        root: str,
        on_error: OnError = "raise",
        cache: ShardCache | None = None,
        roots: Mapping[str, str] | None = None,
    ):
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error is {on_error!r}: choose raise or skip")
        self.root, self.on_error = root.rstrip("/"), on_error
        self.index = read_index(self.root)
        is_local = not any(map(is_remote, (self.root, *(roots or {}).values())))
        self.cache = None if is_local else cache or ShardCache()
        self.stores = [self._store(root, dict(roots or {})) for root in self.index.roots]
        self._check_roots(set(roots or {}))
        self.damaged = torch.zeros(len(self.index.records), dtype=torch.bool).share_memory_()
        self._intact = np.zeros(self.index.blob_count, bool)  # pages that are not touched take no memory
        self._lost: dict[int, str] = {}
        self._check_lengths()

    def count(self, record: int) -> int:
        """Return the number of images of a class."""
        return self.index.count(record)

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        """The type and shape of an image, or of a vector of features."""
        features = self.index.features
        return ("<f4", (features.size,)) if features else ("u1", self.index.preprocess.shape)

    def images(self, record: int, which: NDArray[np.integer]) -> Images:
        """Read some images of a class.

        Args:
            record: The number of the class, as in `index.splits`.
            which: Numbers of images within the class, from 0 to `count(record) - 1`.

        Returns:
            uint8 images [len(which), channels, size, size]; for a set of features, float32 [len(which), size].

        Raises:
            DamageError: If the class is damaged.
        """
        kind, shape = self.kind
        images = np.empty((len(which), *shape), kind)
        self.read_images(record, which, images)
        return images

    def read_images(self, record: int, which: NDArray[np.integer], out: Iterable[Images]) -> None:
        """Read some images of a class as `images` does, each into the next array of `out`."""
        index, (kind, shape) = self.index, self.kind
        per_blob, array, last = index.header.images_per_blob, np.empty(0), -1
        numbers = index.blobs(record, which)
        wanted = zip(which.tolist(), numbers.tolist(), index.blob_table(numbers), out, strict=True)
        for image, number, blob, place in wanted:
            if index.encoded:
                data = self._bytes(record, number, blob)
                place[...] = index.preprocess(data, f"of class {index.name(record)} in {self.where(blob.source)}")
            elif per_blob == 1 and self._intact[number]:
                file = self.open(blob.source)
                assert isinstance(file, ShardFile), "arrays are in shards"
                file.read_into(blob.offset, place.view(np.uint8).reshape(-1).data)
            else:
                if number != last:
                    array, last = np.frombuffer(self._bytes(record, number, blob), kind).reshape(-1, *shape), number
                if (row := image % per_blob) >= len(array):
                    raise index.damage(f"image {image} of class {index.name(record)} is not where it should be")
                place[...] = array[row]

    def prefetch(self, wanted: Iterable[Wanted]) -> None:
        """Fetch images that will be read next, several at a time, if the set is remote and read by ranges.

        Args:
            wanted: Numbers of classes, and of the images of each.
        """
        if not self.is_lasting:
            self.fetch(wanted)

    @property
    def is_lasting(self) -> bool:
        """True if no source is read by ranges, which have to be fetched for each episode."""
        return all(store.is_lasting for store in self.stores)

    def for_fetching(self) -> "ShardSet | None":
        """Return this set for `fetch` in another thread, with open files of its own; None if it keeps no copies."""
        if not any(isinstance(store, Copies | Ranges) for store in self.stores):
            return None
        twin = copy.copy(self)
        twin.stores = [copy.copy(store) for store in self.stores]  # a copy of a store has no file open
        return twin

    def fetch(self, wanted: Iterable[Wanted]) -> None:
        """Fetch images into the cache that are not there yet: their ranges of bytes, or the shards that they are in.

        Args:
            wanted: Numbers of classes, and of the images of each.

        Raises:
            InputError: If the network or disk fails.
        """
        places: dict[int, list[ByteRange]] = {}
        for record, which in wanted:
            for blob in self.index.blob_table(np.unique(self.index.blobs(record, which))):
                source = self.index.source(blob.source)
                places.setdefault(source.root, []).append(ByteRange(source, *blob[1:4]))
        for root, needed in places.items():
            with suppress(DamageError):  # it is raised, or counted, when the image itself is read
                self.stores[root].prefetch(needed)

    def verify(self, processes: int | None = None) -> list[str]:
        """Read everything and compare it with the index; return a line for every damaged class or shard, the same for any
        number of processes."""
        return verify(self, processes)

    def forget(self, record: int) -> None:
        """Mark a class as damaged."""
        self.damaged[record] = True

    def report(self) -> str | None:
        """Return a line with the number of skipped classes and the first few names, or None if there are none."""
        skipped = self.damaged.nonzero().flatten().tolist()
        if not skipped:
            return None
        names = ", ".join(map(self.index.name, skipped[:5])) + (", ..." if len(skipped) > 5 else "")
        return (
            f"{len(skipped)} of {len(self.index.records)} classes of {self.root} are damaged and were skipped: {names}"
        )

    def open(self, number: int) -> Opened:
        """Return a source, open for reading; raise DamageError if it is not complete, after one attempt."""
        if number in self._lost:
            raise DamageError(self._lost[number])
        source = self.index.source(number)
        try:
            return self.stores[source.root].open(source)
        except DamageError as error:
            self._lost[number] = str(error)
            raise

    def describe(self) -> str:
        """Return a line about where the images are read from."""
        size, sources = self.index.source_bytes / 1e9, len(self.index.sources)
        where = f"{sources} files of {self.root}, {size:.3g} GB"
        if self.cache is None:
            return f"reads {where}, in place"
        is_whole = all(isinstance(store, Folder | Copies) for store in self.stores)
        how = "copied whole once" if is_whole else "by ranges of bytes"
        return f"reads {where}, {how}; the cache of {self.cache.bytes / 1e9:.3g} GB is {self.cache.folder}"

    def where(self, number: int) -> str:
        """Return the path or URL of a source."""
        source = self.index.source(number)
        return self.stores[source.root].where(source)

    def damage(self, record: int, blob: Blob) -> DamageError:
        """Return the error that a class is damaged."""
        return DamageError(
            f"class {self.index.name(record)} in {self.where(blob.source)} is damaged: its checksum is not that of the index."
            f" {REMEDY}"
        )

    def read(self, record: int, number: int, blob: Blob) -> bytes:
        """Return the bytes of a blob whose checksum is right, after fetching a damaged copy of them again.

        Args:
            record: The number of its class, for messages.
            number: The number of the blob in the index.
            blob: The blob.

        Raises:
            DamageError: If it is damaged.
        """
        source = self.index.source(blob.source)
        self.index.check_place(blob)
        for is_last in (False, True):
            data = self.open(blob.source).read(blob.offset, blob.bytes)
            if zlib.crc32(data) == blob.crc32:
                self._intact[number] = self.stores[source.root].is_lasting
                return data
            if is_last or not self.stores[source.root].refresh([ByteRange(source, *blob[1:4])]):
                break
        raise self.damage(record, blob)

    def _bytes(self, record: int, number: int, blob: Blob) -> bytes:
        """Return the bytes of a blob, checked when they are first read."""
        if self._intact[number]:
            return self.open(blob.source).read(blob.offset, blob.bytes)
        return self.read(record, number, blob)

    def _store(self, root: Root, places: dict[str, str]) -> Store:
        """Return what reads the sources below a root."""
        place = places.get(root.name, "") if root.name else self.root
        if root.format == "parquet":
            return ParquetFiles(place.rstrip("/"), is_remote(place), root.column)
        if is_remote(place):
            cache = self.cache or ShardCache()
            return (Copies if self._fits(cache) else Ranges)(place.rstrip("/"), cache)
        return Folder(place.rstrip("/") or "/", own=not root.name)

    def _fits(self, cache: ShardCache) -> bool:
        """Return whether all sources can be copied whole into the cache, so that each is fetched once."""
        return self.index.is_written and self.index.source_bytes <= cache.bytes

    def _check_roots(self, given: set[str]) -> None:
        """Raise InputError unless every root of the index is given, and no other."""
        named = {root.name for root in self.index.roots if root.name}
        if missing := sorted(named - given):
            raise InputError(
                f"{self.root} reads images below {', '.join(missing)}, but `roots` does not say where that is: give"
                f" --data.roots.{missing[0]} FOLDER_OR_URL, or {self.root}/task.yaml in place of {self.root}"
            )
        if more := sorted(given - named):
            raise InputError(f"{self.root} has no root {more[0]!r}: it has {', '.join(sorted(named)) or 'none'}")

    def _check_lengths(self) -> None:
        """Open each local source of a set that has few, to see its length; raise DamageError or skip, as `on_error` says."""
        if len(self.index.sources) > EARLY or not all(isinstance(store, Folder) for store in self.stores):
            return
        for number in range(len(self.index.sources)):
            try:
                self.open(number)
            except DamageError:
                if self.on_error == "raise":
                    raise
                self.damaged[self.index.records_in(number)] = True


def open_images(root: str) -> ShardSet:
    """Open the set of images at a folder or URL, or of a task file; raise InputError if it holds features."""
    place, roots = set_place(root)
    shards = ShardSet(place, roots=roots)
    if shards.index.features:
        raise InputError(f"{root} holds features, not pictures to look at: give the shard set that they were made from")
    return shards
