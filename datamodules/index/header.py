"""The head of an index, `index.json`: what the set is, and the lengths and checksums of its columns."""

import hashlib
import json
import math
from typing import Any, NamedTuple

import numpy as np

from datamodules.index.verification import CONTROL, check_header
from datamodules.reading.preprocess import Preprocess
from lightning_meta.core import InputError

FILE, COLUMNS, VERSION = "index.json", "index.columns", 3

# A range of bytes with images of one class: its source, its place there, its CRC-32, and the number of images in it.
BLOB = np.dtype(
    {
        "names": ["source", "offset", "bytes", "crc32", "images"],
        "formats": ["<u4", "<u8", "<u8", "<u4", "<u4"],
        "offsets": [0, 8, 16, 24, 4],
        "itemsize": 32,
    }
)
COUNT, NUMBER, TEXT = np.dtype("<u8"), np.dtype("<u4"), np.dtype("|u1")
Row = tuple[int, ...]

# For each column the type of its values and the shape of a row.
KINDS: dict[str, tuple[np.dtype[Any], Row]] = {
    "class_first": (COUNT, ()),  # images of class i: from class_first[i] up to class_first[i + 1]
    "class_blob": (COUNT, ()),  # its blobs, in the same way
    "class_name_end": (COUNT, ()),
    "class_name": (TEXT, ()),
    "class_group": (NUMBER, ()),  # empty if the classes have no groups
    "group_name_end": (COUNT, ()),
    "group_name": (TEXT, ()),
    "blob": (BLOB, ()),
    "source_path_end": (COUNT, ()),
    "source_path": (TEXT, ()),
    "source_root": (TEXT, ()),
    "source_bytes": (COUNT, ()),
    "source_sha256": (TEXT, (32,)),  # empty if the sources were not read as a whole
    "same": (NUMBER, (2,)),
}
SPLIT = (NUMBER, ())  # the classes of a split: columns split_0, split_1, ...


class FeatureInfo(NamedTuple):
    """The kind of float32 vectors in a set of features: their length, and a description of the backbone that made them."""

    size: int
    backbone: str


class Root(NamedTuple):
    """A place that sources are below.

    name: name of the place, for which the user's configuration says where it is; empty for the folder of the index.
    format: `bytes`, if images lie in the sources as they are, or `parquet`.
    column: the column of the images in a parquet file, such as `image.bytes`; otherwise empty.
    """

    name: str
    format: str = "bytes"
    column: str = ""


OWN = Root("")


class Header(NamedTuple):
    """The head of an index.

    title: name of the set in messages and reports.
    preprocess: how the images were, or are to be, decoded, resized and inverted.
    encoded: whether the blobs are encoded image files and not arrays.
    images_per_blob: number of images in each blob of a class but its last, which may hold fewer; 1 for encoded files.
    features: the kind of features, for a set that holds features in place of images.
    roots: the places that sources are below.
    splits: the names of the splits.
    columns: for each column the place of its first byte in `index.columns` and its number of rows.
    size: the length of `index.columns` in bytes.
    checksums: SHA-256 of the checksums of its blocks, with which it ends.
    """

    title: str
    preprocess: Preprocess
    encoded: bool
    images_per_blob: int
    features: FeatureInfo | None
    roots: tuple[Root, ...]
    splits: tuple[str, ...]
    columns: dict[str, list[int]]
    size: int
    checksums: str

    @property
    def bytes_per_image(self) -> int:
        """The number of bytes of an image or vector in an array; 0 for encoded files, whose lengths differ."""
        if self.features:
            return 4 * self.features.size
        return 0 if self.encoded else math.prod(self.preprocess.shape)

    @property
    def kinds(self) -> dict[str, tuple[np.dtype[Any], Row]]:
        """For each column of this index the type of its values and the shape of a row."""
        return KINDS | {f"split_{number}": SPLIT for number in range(len(self.splits))}

    def to_json(self) -> str:
        """Return the text of the file.

        Its first line holds the version and the checksum of all that follows, so that a damaged file is not taken for
        another index.

        Raises:
            InputError: If the index could not be read again.
        """
        try:
            check_header(self)
        except ValueError as error:
            raise InputError(f"this set cannot be written: {error}") from error
        fields = self._asdict() | {"preprocess": self.preprocess._asdict()}
        body = json.dumps(fields)[1:]
        return f'{{"version": {VERSION}, "sha256": "{hashlib.sha256(body.encode()).hexdigest()}",\n{body}'

    @staticmethod
    def from_json(text: str | bytes, where: str) -> "Header":
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
                fields["features"] = fields["features"] and FeatureInfo(*fields["features"])
                fields["roots"] = tuple(Root(*root) for root in fields["roots"])
                fields["splits"] = tuple(fields["splits"])
                header = Header(**fields)
                check_header(header)
                return header
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise InputError(f"{where} is damaged ({in_one_line(error)}): write the shards again") from error
        raise InputError(
            f"{where} is of version {str(version)[:20]}; this lightning-meta reads version {VERSION}: write the shards again"
        )


def in_one_line(error: Exception) -> str:
    """Return the message of an error, shortened and without control characters."""
    text = str(error) if type(error) in (ValueError, InputError) else repr(error)
    return CONTROL.sub("?", text[:300])
