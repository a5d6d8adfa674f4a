"""The files that the sources on a command line mean: brace patterns, globs, folders, and URLs of any kind of storage."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from braceexpand import braceexpand

from datamodules.index.opening import is_remote
from datamodules.index.verification import BESIDE, OUTSIDE, is_text
from datamodules.reading.image_files import is_clutter
from datamodules.reading.remote import persist, storage_of
from datamodules.scanning.tar_headers import compressed
from lightning_meta.core import InputError

Format = Literal["tar", "parquet", "csv", "folder"]
ENDINGS: dict[str, Format] = {".tar": "tar", ".parquet": "parquet", ".csv": "csv"}
COMPRESSED = {".tgz": "gunzip", ".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd"}


class Address(NamedTuple):
    """A source: a tar, a parquet file, a CSV list or a folder of class folders.

    format: its kind.
    place: its absolute path or its URL.
    remote: whether it is a URL.
    """

    format: Format
    place: str
    remote: bool

    @property
    def folder(self) -> str:
        """The folder or URL that it is below; of a folder, the folder itself."""
        return self.place if self.format == "folder" else self.place.rpartition("/")[0]


def find_sources(patterns: list[str]) -> list[Address]:
    """Return the sources that some paths, URLs and patterns mean, each once, sorted.

    Args:
        patterns: Paths, URLs, globs such as `images/*.tar`, and brace patterns such as `train-{000..099}.tar`. A folder that
            holds tars or parquet files stands for these.

    Raises:
        InputError: If a pattern matches nothing, or something is not a source.
    """
    addresses = {address for pattern in patterns for place in _expand(pattern) for address in _addresses(place)}
    if not addresses:
        raise InputError("there are no sources: name tars, parquet files, folders of class folders, or CSV lists")
    return sorted(addresses, key=lambda address: (address.format, address.place))


def _expand(pattern: str) -> Iterator[str]:
    if not is_remote(pattern) and os.path.exists(pattern):
        yield pattern
        return
    try:
        each = list(braceexpand(pattern)) if "{" in pattern else [pattern]
    except ValueError as error:  # UnbalancedBracesError, which has no type stub
        raise InputError(f"the source {pattern!r} has a brace that is not closed: close it") from error
    for one in each:
        magic = any(sign in one for sign in ("*", "["))
        places = (_remote_glob(one) if is_remote(one) else glob.glob(one, recursive=True)) if magic else [one]
        if not places:
            raise InputError(f"no file matches {one!r}: check the path")
        yield from places


def _remote_glob(pattern: str) -> list[str]:
    storage, path = persist(lambda: storage_of(pattern), f"cannot list {pattern}", patient=False)
    paths = persist(lambda: storage.glob(path), f"cannot list {pattern}", patient=False)
    return [storage.unstrip_protocol(path) for path in paths]


def _addresses(place: str) -> Iterator[Address]:
    if place.startswith("file://"):
        place = place.removeprefix("file://")
    if is_remote(place):
        yield _remote(place)
        return
    place = os.path.abspath(place)
    if os.path.isdir(place):
        files = [f"{place}/{name}" for name in sorted(os.listdir(place)) if not is_clutter(name)]
        packed = [file for file in files if Path(file).suffix.lower() in (".tar", ".parquet") and os.path.isfile(file)]
        yield from (_address(file, False) for file in packed) if packed else [Address("folder", place, False)]
    elif os.path.exists(place):
        yield _address(place, False)
    else:
        raise InputError(f"there is no source {place}: check the path")


def _remote(url: str) -> Address:
    if urlsplit(url).query or "#" in url:
        raise InputError(
            f"{url.partition('?')[0]} has a query or a fragment, which an index cannot hold: give a plain URL"
        )
    address = _address(url, True)
    if address.format == "csv":
        raise InputError(f"{url} is a list at a URL: copy the list and its images here, or pack the images into tars")
    return address


def _address(place: str, remote: bool) -> Address:
    ending = Path(urlsplit(place).path if remote else place).suffix.lower()
    name = place.rpartition("/")[2]
    if ending in COMPRESSED and (ending == ".tgz" or ".tar." in name.lower()):
        raise InputError(compressed(place, COMPRESSED[ending]))
    if ending not in ENDINGS:
        raise InputError(
            f"{place} is not a source: give tars (.tar), parquet files (.parquet), CSV lists (.csv) or folders of class folders"
        )
    if not is_text(place) or (BESIDE if remote else OUTSIDE).search(name):
        raise InputError(f"the name of {place!r} has signs that an index cannot hold: rename the file")
    return Address(ENDINGS[ending], place, remote)
