"""The index of a shard set: what lies where, so that a tar is read in place and its damage is known.

A shard set is a folder (or URL) of WebDataset shards and `index.json`. A record is a class. Its images stand in the tar
either as one uint8 array `KEY.images.npy` [count, channels, size, size], or encoded, as `KEY.0000.jpg`, `KEY.0001.jpg`, ...;
`KEY.json` beside them tells class name, split, count and source. A set of features has `KEY.features.npy`, float32
[count, size], in their place.
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
    """A run of bytes in a shard: where, how many, and their CRC-32."""

    offset: int
    bytes: int
    crc32: int


class Record(NamedTuple):
    """A class: its name, the number of its shard, and its images, one array of `count` or `count` encoded files."""

    name: str
    shard: int
    count: int  # type: ignore[assignment]  # a tuple's method of this name is not wanted
    blobs: tuple[Blob, ...]


class Shard(NamedTuple):
    """A tar file: its name within the set, length in bytes, and SHA-256."""

    path: str
    bytes: int
    sha256: str


class Features(NamedTuple):
    """Of a set that holds float32 vectors in the place of images: how many numbers a vector has, and what made them."""

    size: int
    backbone: str


class Index(NamedTuple):
    """The whole set. `splits` maps a split's name to the numbers of its records; splits may overlap. `same` has pairs of
    records that hold the same images, or so many that they are one class, under two names."""

    title: str
    preprocess: Preprocess
    encoded: bool
    shards: tuple[Shard, ...]
    records: tuple[Record, ...]
    splits: dict[str, list[int]]
    same: tuple[tuple[int, int], ...] = ()
    features: Features | None = None

    def to_json(self) -> str:
        """A first line with the version and the checksum of what follows, so that no damage passes for another index.

        Raises InputError for an index that could not be read again.
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
        """Parse and check; raises InputError where the text is no index of this version."""
        text = text.encode() if isinstance(text, str) else text
        try:
            head, _, body = text.partition(b"\n")
            version = json.loads(head.rstrip().rstrip(b",") + b"}" if body else head)["version"]
            if version == VERSION:
                fields: dict[str, Any] = json.loads(text)
                del fields["version"]
                if fields.pop("sha256") != hashlib.sha256(body).hexdigest():
                    raise ValueError("its checksum is another")
                fields["preprocess"] = Preprocess(**fields["preprocess"])
                if "features" in fields:
                    fields["features"] = Features(*fields["features"])
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
            raise InputError(f"{where} is damaged ({said(error)}): write the shards again") from error
        raise InputError(
            f"{where} is of version {str(version)[:20]}; this lightning-meta reads version {VERSION}: write the shards again"
        )

    def split(self, name: str) -> list[int]:
        """Record numbers of a split; InputError lists the legal names."""
        if name not in self.splits:
            raise InputError(f"{self.title} has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


def said(error: Exception) -> str:
    """In a few words of one line."""
    text = str(error) if type(error) in (ValueError, InputError) else repr(error)
    return CONTROL.sub("?", text[:300])


def is_remote(root: str) -> bool:
    return "://" in root or "::" in root


def read_index(root: str) -> Index:
    """Read `index.json` below a folder or any fsspec URL; InputError where there is none."""
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
