"""The index of a set of images: where the images of each class lie, so that they are read in place and damage is detected.

A set is a folder (or URL) with `index.json`, which says what the set is, and `index.columns`, which is mapped into memory:
an index of any size is opened at once, and all processes of a machine share it.

The images lie in sources. Those of a set that `lightning-meta shards write` made are WebDataset shards in the same folder: a
tar holds the images of a class either as uint8 arrays `KEY.0000.images.npy` [count, channels, size, size], or encoded, as
`KEY.0000.jpg`, `KEY.0001.jpg`, ...; `KEY.json` beside them holds class name, split, count and source. A set of features has
`KEY.0000.features.npy`, float32 [count, size], in place of the images. The sources of a set that `lightning-meta shards index`
made are tars, parquet files and image files elsewhere, below a root that the user's configuration names.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.index.columns import Column, Texts
from datamodules.index.header import Header
from datamodules.index.verification import BESIDE, OUTSIDE, is_text
from lightning_meta.core import InputError

Numbers = NDArray[np.integer]
KEPT = 4096  # sources that are kept in memory


class Source(NamedTuple):
    """A file that holds images: the number of its root, its path below that, its length, and its SHA-256 if it is known."""

    root: int
    path: str
    bytes: int
    sha256: str | None


class Blob(NamedTuple):
    """A range of bytes in a source, with its CRC-32: an encoded image, or an array of several images of one class.

    In a parquet file `offset` is the page of the image and its rank there (`datamodules.reading.parquet_pages.place_of`).
    """

    source: int
    offset: int
    bytes: int
    crc32: int
    images: int


class Record(NamedTuple):
    """A class: its name, the number of its images, and where they lie."""

    name: str
    count: int  # type: ignore[assignment]  # hides a tuple's method of this name, which is not needed
    blobs: tuple[Blob, ...]


class Index:
    """The index of a set, open for reading. Every value is checked when it is read.

    Args:
        where: Path or URL of `index.json`, for messages.
        header: Its content.
        columns: The columns (see `datamodules.index.header.KINDS`).

    Attributes:
        title: Name of the set in messages and reports.
        preprocess: How the images were, or are to be, decoded, resized and inverted.
        encoded: Whether the blobs are encoded image files and not arrays.
        features: The kind of features, for a set that holds features in place of images.
        roots: The roots that sources are below.
        records: The classes, a sequence of `Record`.
        sources: The files that hold the images, a sequence of `Source`.
        splits: For the name of each split, the numbers of its classes, int64 [classes]; splits may overlap.
        columns: The columns themselves.
    """

    def __init__(self, where: str, header: Header, columns: Mapping[str, Column]):
        self.where, self.header = where, header
        self.title, self.preprocess, self.encoded = header.title, header.preprocess, header.encoded
        self.features, self.roots = header.features, header.roots
        self.columns = columns
        self._check_sizes()
        self._first, self._blob, self._table = columns["class_first"], columns["class_blob"], columns["blob"]
        self._names = Texts(columns["class_name_end"], columns["class_name"])
        self._group_names = Texts(columns["group_name_end"], columns["group_name"])
        self._paths = Texts(columns["source_path_end"], columns["source_path"])
        self._pairs: Numbers | None = None
        self._sources: dict[int, Source] = {}
        self.records: Sequence[Record] = _Sequence(len(self._first) - 1, self.record)
        self.sources: Sequence[Source] = _Sequence(len(self._paths), self.source)
        self.splits: Mapping[str, Numbers] = _Splits(self)

    @property
    def images(self) -> int:
        """The number of images."""
        return int(self._first.between(len(self.records), len(self.records) + 1)[0])

    def split(self, name: str) -> Numbers:
        """Return the class numbers of a split; raise InputError with the legal names if there is no such split."""
        if name not in self.header.splits:
            raise InputError(f"{self.title} has no split {name!r}; it has {', '.join(self.header.splits)}")
        column = self.columns[f"split_{self.header.splits.index(name)}"]
        numbers = column.between(0, len(column)).astype(np.int64)
        if len(numbers) and int(numbers.max()) >= len(self.records):
            raise self.damage(f"split {name} lists a class that does not exist")
        if len(np.unique(numbers)) < len(numbers):
            raise self.damage(f"split {name} lists a class twice")
        return numbers

    def name(self, record: int) -> str:
        """Return the name of a class."""
        name = self._names[record]
        if not is_text(name) or name in ("", ".", ".."):
            raise self.damage(f"a class is called {name!r}")
        return name

    def count(self, record: int) -> int:
        """Return the number of images of a class."""
        first, last = self._first.between(record, record + 2).tolist()
        if not first <= last:
            raise self.damage(f"class {record} has {last - first} images")
        return last - first

    def counts(self, records: Numbers) -> Numbers:
        """Return the number of images of each of these classes."""
        counts = self._first.at(records + 1).astype(np.int64) - self._first.at(records).astype(np.int64)
        if len(counts) and counts.min() < 0:
            raise self.damage(f"a class has {counts.min()} images")
        return counts

    def blob_range(self, record: int) -> tuple[int, int]:
        """Return the number of the first blob of a class, and the number after that of the last."""
        first, last = self._blob.between(record, record + 2).tolist()
        if not first <= last <= self.blob_count or last - first != -(
            -self.count(record) // self.header.images_per_blob
        ):
            raise self.damage(f"class {self.name(record)} has {last - first} places for {self.count(record)} images")
        return first, last

    def blobs(self, record: int, which: Numbers) -> Numbers:
        """Return the numbers of the blobs that hold these images of a class."""
        first, _ = self.blob_range(record)
        return first + which // self.header.images_per_blob

    def blob_table(self, numbers: Numbers) -> list[Blob]:
        """Return the blobs with these numbers."""
        return [Blob(*row) for row in self._table.at(numbers).tolist()]

    def check_place(self, blob: Blob) -> None:
        """Raise InputError if a blob lies outside of its source."""
        source = self.source(blob.source)
        if self.roots[source.root].format == "bytes" and blob.offset + blob.bytes > source.bytes:
            raise self.damage(f"an image lies outside of {source.path}")
        if (each := self.header.bytes_per_image) and blob.bytes != blob.images * each:
            raise self.damage(f"{blob.images} images of {each} bytes lie in {blob.bytes} bytes")

    @property
    def is_written(self) -> bool:
        """True if the sources are shards that were written with this index, whose checksums are known."""
        return len(self.columns["source_sha256"]) > 0

    @property
    def source_bytes(self) -> int:
        """The length of all sources in bytes."""
        lengths = self.columns["source_bytes"]
        return int(lengths.between(0, len(lengths)).sum())

    @property
    def blob_count(self) -> int:
        """The number of blobs."""
        return len(self._table)

    def blob_sources(self) -> Numbers:
        """Return the number of the source of every blob, int64 [blobs]."""
        return self._table.between(0, self.blob_count)["source"].astype(np.int64)

    def record_of(self, blob: int) -> int:
        """Return the number of the class of a blob."""
        ends = self._blob.between(0, len(self._blob))
        return int(np.searchsorted(ends, blob, "right")) - 1

    def records_in(self, source: int) -> Numbers:
        """Return the numbers of the classes that have images in a source."""
        ends = self._blob.between(0, len(self._blob))
        return np.unique(np.searchsorted(ends, np.flatnonzero(self.blob_sources() == source), "right") - 1)

    def record(self, number: int) -> Record:
        """Return what the index says of a class."""
        blobs = self.blob_table(np.arange(*self.blob_range(number)))
        return Record(self.name(number), self.count(number), tuple(blobs))

    def source(self, number: int) -> Source:
        """Return what the index says of a source; raise InputError if it lies outside of its root."""
        if (known := self._sources.get(number)) is not None:
            return known
        if not 0 <= number < len(self._paths):
            raise self.damage(f"an image is in source {number} of {len(self._paths)}")
        path, root = self._paths[number], self.columns["source_root"].between(number, number + 1).item()
        if root >= len(self.roots):
            raise self.damage(f"a source is below root {root} of {len(self.roots)}")
        if (BESIDE if not self.roots[root].name else OUTSIDE).search(path):
            raise self.damage(f"a source is at {path!r}, not below its own folder")
        sha256 = self.columns["source_sha256"]
        digest = sha256.between(number, number + 1).tobytes().hex() if len(sha256) else None
        if len(self._sources) >= KEPT:
            self._sources.clear()
        source = Source(root, path, self.columns["source_bytes"].between(number, number + 1).item(), digest)
        return self._sources.setdefault(number, source)

    def sources_of(self, records: Numbers) -> Numbers:
        """Return for each of these classes the source in which it begins."""
        first = self._blob.at(records).astype(np.int64)
        return self._table.at(first)["source"].astype(np.int64)

    def groups(self, records: Numbers) -> Numbers | None:
        """Return the number of the group of each of these classes, or None if the classes have no groups."""
        groups = self.columns["class_group"]
        if not len(groups):
            return None
        numbers = groups.at(records).astype(np.int64)
        if len(numbers) and int(numbers.max()) >= len(self._group_names):
            raise self.damage("a class is of a group that does not exist")
        return numbers

    def group_name(self, group: int) -> str:
        """Return the name of a group."""
        if not is_text(name := self._group_names[group]):
            raise self.damage("the name of a group is not text")
        return name

    @property
    def same(self) -> Numbers:
        """Pairs of classes that are one under two names: one holds half of the other's images or more. int64 [pairs, 2]."""
        if self._pairs is None:
            column = self.columns["same"]
            pairs = column.between(0, len(column)).astype(np.int64)
            if pairs.size and int(pairs.max()) >= len(self.records):
                raise self.damage("its pairs of same classes list a class that does not exist")
            self._pairs = pairs
        return self._pairs

    def damage(self, reason: str) -> InputError:
        """Return the error that this index is damaged."""
        return InputError(f"{self.where} is damaged ({reason}): write the shards again, or index them again")

    def _check_sizes(self) -> None:
        """Raise InputError if columns that belong together are of different lengths."""
        sizes = {name: len(column) for name, column in self.columns.items()}
        classes, sources = sizes["class_first"] - 1, sizes["source_bytes"]
        expected = {"class_blob": classes + 1, "class_name_end": classes + 1, "source_path_end": sources + 1}
        expected |= {"source_root": sources}
        optional = {"class_group": classes, "source_sha256": sources}
        wrong = [name for name, size in expected.items() if sizes[name] != size]
        wrong += [name for name, size in optional.items() if sizes[name] not in (0, size)]
        if wrong or classes < 0 or sizes["group_name_end"] < 1:
            raise self.damage(f"the length of {', '.join(wrong) or 'a column'} does not fit the others")


class _Sequence(Sequence[Any]):
    """A sequence whose items are made when they are asked for."""

    def __init__(self, length: int, make: Any):
        self.length, self.make = length, make

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self.make(i) for i in range(*number.indices(self.length))]
        place = number + self.length if number < 0 else number
        if not 0 <= place < self.length:
            raise IndexError(number)
        return self.make(int(place))


class _Splits(Mapping[str, Numbers]):
    """The class numbers of each split, read when they are asked for."""

    def __init__(self, index: Index):
        self.index = index

    def __len__(self) -> int:
        return len(self.index.header.splits)

    def __iter__(self) -> Iterator[str]:
        return iter(self.index.header.splits)

    def __getitem__(self, name: str) -> Numbers:
        if name not in self.index.header.splits:
            raise KeyError(name)
        return self.index.split(name)
