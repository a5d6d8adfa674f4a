"""The index of a shard set: where everything lies, so that a tar is read in place and damage is detected.

A shard set is a folder (or URL) of WebDataset shards and `index.json`. A record is a class. The tar holds its images
either as one uint8 array `KEY.images.npy` [count, channels, size, size], or encoded, as `KEY.0000.jpg`, `KEY.0001.jpg`, ...;
`KEY.json` beside them holds class name, split, count and source. A set of features has `KEY.features.npy`, float32
[count, size], in place of the images.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.index.verification import CONTROL, check_index, check_links
from datamodules.reading import remote
from datamodules.reading.preprocess import Preprocess
from lightning_meta.core import InputError

FILE, VERSION = "index.json", 2


class Blob(NamedTuple):
    """A range of bytes in a shard: its offset, its length and its CRC-32."""

    offset: int
    bytes: int
    crc32: int


class Record(NamedTuple):
    """A class: its name, the number of its shard, the number of its images, and where they lie.

    `blobs` holds one array of `count` images, or `count` encoded files.
    """

    name: str
    shard: int
    count: int  # type: ignore[assignment]  # hides a tuple's method of this name, which is not needed
    blobs: tuple[Blob, ...]


class Shard(NamedTuple):
    """A tar file: its name within the set, its length in bytes, and its SHA-256."""

    path: str
    bytes: int
    sha256: str


class FeatureInfo(NamedTuple):
    """The kind of float32 vectors in a set of features: their length, and a description of the backbone that made them."""

    size: int
    backbone: str


class Index(NamedTuple):
    """The index of a shard set.

    title: name of the set in messages and reports.
    preprocess: how the images were, or are to be, decoded, resized and inverted.
    encoded: whether the shards hold encoded image files and not arrays.
    shards: the tar files.
    records: the classes.
    splits: for the name of each split, the numbers of its records; splits may overlap.
    same: pairs of records that are one class under two names, since one holds at least half of the other's images.
    features: the kind of features, for a set that holds features in place of images.
    """

    title: str
    preprocess: Preprocess
    encoded: bool
    shards: tuple[Shard, ...]
    records: tuple[Record, ...]
    splits: dict[str, list[int]]
    same: tuple[tuple[int, int], ...] = ()
    features: FeatureInfo | None = None

    def to_json(self) -> str:
        """Return the text of the index file.

        Its first line holds the version and the checksum of all that follows, so that a damaged file is not taken for
        another index.

        Raises:
            InputError: If the index could not be read again.
        """
        try:
            check_index(self)
        except ValueError as error:
            raise InputError(f"this set cannot be written: {error}") from error
        fields = self._asdict() | {"preprocess": self.preprocess._asdict()}
        if self.features is None:
            del fields["features"]
        body = json.dumps(fields)[1:]
        return f'{{"version": {VERSION}, "sha256": "{hashlib.sha256(body.encode()).hexdigest()}",\n{body}'

    @staticmethod
    def from_json(text: str | bytes, where: str) -> "Index":
        """Parse and check the text of an index file.

        Args:
            text: The text.
            where: Path or URL of the file, for messages.

        Raises:
            InputError: If the text is damaged or of another version.
        """
        text = text.encode() if isinstance(text, str) else text
        try:
            head, _, body = text.partition(b"\n")
            version = json.loads(head.rstrip().rstrip(b",") + b"}" if body else head)["version"]
            if version == VERSION:
                fields: dict[str, Any] = json.loads(text)
                del fields["version"]
                if fields.pop("sha256") != hashlib.sha256(body).hexdigest():
                    raise ValueError("its checksum does not match")
                fields["preprocess"] = Preprocess(**fields["preprocess"])
                if "features" in fields:
                    fields["features"] = FeatureInfo(*fields["features"])
                fields["shards"] = tuple(Shard(*shard) for shard in fields["shards"])
                fields["records"] = tuple(
                    Record(name, shard, count, tuple(Blob(*blob) for blob in blobs))
                    for name, shard, count, blobs in fields["records"]
                )
                fields["same"] = tuple((first, second) for first, second in fields["same"])
                index = Index(**fields)
                check_index(index)
                return index
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise InputError(f"{where} is damaged ({in_one_line(error)}): write the shards again") from error
        raise InputError(
            f"{where} is of version {str(version)[:20]}; this lightning-meta reads version {VERSION}: write the shards again"
        )

    def split(self, name: str) -> list[int]:
        """Return the record numbers of a split; raise InputError with the legal names if there is no such split."""
        if name not in self.splits:
            raise InputError(f"{self.title} has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


def in_one_line(error: Exception) -> str:
    """Return the message of an error, shortened and without control characters."""
    text = str(error) if type(error) in (ValueError, InputError) else repr(error)
    return CONTROL.sub("?", text[:300])


def is_remote(root: str) -> bool:
    """Return whether the root of a shard set is a URL and not a local folder."""
    return "://" in root or "::" in root


def read_index(root: str) -> Index:
    """Read `index.json` in a folder or at any fsspec URL; raise InputError if there is none."""
    where = f"{root.rstrip('/')}/{FILE}"
    if not is_remote(root) and not Path(where).is_file():
        raise InputError(
            f"no shards at {root!r}: there is no {FILE}. Write them first, for example"
            f" `lightning-meta shards write glyphs --out {root}`"
        )
    text = remote.read(where) if is_remote(root) else Path(where).read_bytes()
    index = Index.from_json(text, where)
    if not is_remote(root):
        check_links(Path(root), [shard.path for shard in index.shards])
    return index
