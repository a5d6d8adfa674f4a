"""Reading of a set of images in place: any image of any class, by its place in a tar or another file."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.index.header import Root
from datamodules.index.opening import is_remote, read_index
from datamodules.index.shard_index import Blob
from datamodules.reading.cache import ShardCache
from datamodules.reading.damage import DamageError
from datamodules.reading.shard_file import REMEDY, ShardFile
from datamodules.reading.stores import Copies, Folder, Store
from datamodules.reading.verify import verify
from lightning_meta.core import InputError

OnError = Literal["raise", "skip"]
Images = NDArray[Any]  # uint8; float32 for a set of features
SMALL = 2**17  # bytes up to which an array is read whole, which is faster than row by row
EARLY = 1024  # local sources up to which their lengths are looked at when the set is opened


class ShardSet:
    """A set of images that is open for reading: classes in a folder or at any fsspec URL (http, https, s3, ...).

    Files of this machine are read in place, with at most 64 open at a time; a remote shard is first copied whole into the
    cache. Opening the set reads no image, whatever its size; it looks at the lengths of the files only if there are no more
    than 1,024 of them, so that a missing one is noticed early. The checksum of an image, or of an array of images, is
    checked when it is first read.

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
        self.cache = (cache or ShardCache()) if is_remote(self.root) else None
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

    def images(self, record: int, which: NDArray[np.integer], out: Images | None = None) -> Images:
        """Read some images of a class.

        Args:
            record: The number of the class, as in `index.splits`.
            which: Numbers of images within the class, from 0 to `count(record) - 1`.
            out: Array to read into, of the shape and type that is returned; by default a new one.

        Returns:
            uint8 images [len(which), channels, size, size]; for a set of features, float32 [len(which), size].

        Raises:
            DamageError: If the class is damaged.
        """
        index, preprocess = self.index, self.index.preprocess
        kind, shape = self.kind
        if out is None:
            out = np.empty((len(which), *shape), kind)
        first, _ = index.blobs(record)
        if index.encoded:
            for place, image in zip(out, which.tolist(), strict=True):
                blob, file = self._checked(record, first + image, 1)
                place[:] = preprocess(
                    file.read(blob.offset, blob.bytes), f"of class {index.name(record)} in {file.path}"
                )
            return out
        for number in np.unique(places := which // index.header.images_per_blob).tolist():
            here = places == number
            blob, file = self._checked(record, first + number, images := index.images_in(record, number))
            rows = which[here] - number * index.header.images_per_blob
            if blob.bytes <= SMALL:
                out[here] = np.frombuffer(file.read(blob.offset, blob.bytes), kind).reshape(images, *shape)[rows]
            elif here.all():
                file.read_rows(blob.offset, rows, out)
            else:
                part = np.empty((len(rows), *shape), kind)
                file.read_rows(blob.offset, rows, part)
                out[here] = part
        return out

    def verify(self) -> list[str]:
        """Read everything and compare it with the index; return a line for every damaged class or shard."""
        return verify(self)

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

    def open(self, number: int) -> ShardFile:
        """Return a source, open for reading; raise DamageError if it is not complete, after one attempt."""
        if number in self._lost:
            raise DamageError(self._lost[number])
        source = self.index.source(number)
        try:
            return self.stores[source.root].open(source)
        except DamageError as error:
            self._lost[number] = str(error)
            raise

    def where(self, number: int) -> str:
        """Return the path or URL of a source."""
        source = self.index.source(number)
        return self.stores[source.root].where(source)

    def is_intact(self, blob: Blob) -> bool:
        """Return whether the checksum of an image or array is right. A damaged copy of a remote shard is fetched again."""
        if self.open(blob.source).crc32(blob.offset, blob.bytes) == blob.crc32:
            return True
        source = self.index.source(blob.source)
        if not self.stores[source.root].discard(source):
            return False
        return self.open(blob.source).crc32(blob.offset, blob.bytes) == blob.crc32

    def damage(self, record: int, blob: Blob) -> DamageError:
        """Return the error that a class is damaged."""
        return DamageError(
            f"class {self.index.name(record)} in {self.where(blob.source)} is damaged: its checksum is not that of the index."
            f" {REMEDY}"
        )

    def _checked(self, record: int, number: int, images: int) -> tuple[Blob, ShardFile]:
        """Return a blob whose checksum is right, and its source."""
        blob = self.index.blob(number, images)
        if not self._intact[number]:
            self.index.check_place(blob)
            if not self.is_intact(blob):
                raise self.damage(record, blob)
            self._intact[number] = True
        return blob, self.open(blob.source)

    def _store(self, root: Root, places: dict[str, str]) -> Store:
        """Return what reads the sources below a root."""
        place = places.get(root.name, "") if root.name else self.root
        if is_remote(place):
            return Copies(place.rstrip("/"), self.cache or ShardCache())
        return Folder(place.rstrip("/") or "/", own=not root.name)

    def _check_roots(self, given: set[str]) -> None:
        """Raise InputError unless every root of the index is given, and no other."""
        named = {root.name for root in self.index.roots if root.name}
        if missing := sorted(named - given):
            raise InputError(
                f"{self.root} reads images below {', '.join(missing)}, but `roots` does not say where that is: give"
                f" --data.roots.{missing[0]} FOLDER_OR_URL, as {self.root}/task.yaml does"
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
    """Open a shard set of images; raise InputError if it holds features."""
    shards = ShardSet(root)
    if shards.index.features:
        raise InputError(f"{root} holds features, not pictures to look at: give the shard set that they were made from")
    return shards
