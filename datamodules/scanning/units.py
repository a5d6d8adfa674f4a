"""The units of a scan: what one process reads at a time, and keeps when it is finished."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from datamodules.reading.damage import DamageError
from datamodules.scanning.image_kinds import is_image
from datamodules.scanning.label_rules import Rules
from datamodules.scanning.parquet_rows import ParquetTable
from datamodules.scanning.scanned import ClassKey, Columns, Scanned
from datamodules.scanning.tape import Report, identity, opened
from datamodules.scanning.tar_samples import scan_tar
from lightning_meta.core import InputError

VERSION = 2  # of what is kept of a scan; another one is scanned again


class Unit(NamedTuple):
    """A tar, a parquet file, or a part of a list of image files.

    format: its kind.
    place: path or URL of the file; of image files, the folder that they are below.
    remote: whether it is a URL.
    rules: where the labels stand.
    amount: its length in bytes, or its number of image files, for the progress bar.
    paths: the paths of image files, each followed by a zero byte.
    number: for each image file its number in `classes`, as the bytes of uint32.
    classes: the distinct classes of image files.
    """

    format: Literal["tar", "parquet", "images"]
    place: str
    remote: bool
    rules: Rules
    amount: int
    paths: bytes = b""
    number: bytes = b""
    classes: tuple[ClassKey, ...] = ()

    def key(self) -> str:
        """Return a name for what is kept of the scan of this unit, which another unit or another rule does not have."""
        parts = [VERSION, self.format, self.place, self.rules, self.classes, len(self.paths)]
        digest = hashlib.sha256(json.dumps(parts).encode() + self.paths + self.number)
        return digest.hexdigest()[:40]

    def files(self) -> list[bytes]:
        """Return the paths of image files below `place`."""
        return self.paths.split(b"\0")[:-1]


def scan_unit(unit: Unit, folder: Path, report: Report) -> bool:
    """Scan a unit, unless that was done before and it has not changed since, and keep the result.

    Args:
        unit: The unit.
        folder: The folder of what is kept, in which `KEY.npz` is written.
        report: Called with the number of bytes or image files read.

    Returns:
        Whether it was scanned and not found there.

    Raises:
        DamageError: If it is damaged, or changed while it was read.
        InputError: If it cannot be read, or has no images with labels.
    """
    state, kept = state_of(unit), folder / f"{unit.key()}.npz"
    if kept.is_file() and kept_state(kept) == state:
        report(unit.amount)
        return False
    columns = READERS[unit.format](unit, report)
    if state_of(unit) != state:
        raise DamageError(f"{unit.place} changed while it was read: start again when it is complete")
    columns.scanned(state).save(kept)
    return True


def kept_state(path: Path) -> str:
    """Return the state of a source at the time it was scanned; an empty text if the file is damaged."""
    try:
        return Scanned.load(path).state
    except (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile):
        return ""


def state_of(unit: Unit) -> str:
    """Return the facts by which another state of a unit is known, as text."""
    if unit.format != "images":
        return json.dumps(identity(unit.place, unit.remote), sort_keys=True)
    digest = hashlib.sha256()
    for path in unit.files():
        full = os.path.join(os.fsencode(unit.place), path)
        with image_errors(full):
            about = os.stat(full)
        digest.update(b"%d %d " % (about.st_size, about.st_mtime_ns))
    return digest.hexdigest()


def _read_tar(unit: Unit, report: Report) -> Columns:
    with opened(unit.place, unit.remote, report) as tape:
        return scan_tar(tape, unit.rules)


def _read_parquet(unit: Unit, report: Report) -> Columns:
    columns = Columns(unit.place)
    with opened(unit.place, unit.remote) as tape:
        ParquetTable(unit.place, tape.file).scan(unit.rules, columns, report)
    return columns


def _read_images(unit: Unit, report: Report) -> Columns:
    """Read image files; `offset` is the number of the file in the unit."""
    columns = Columns(unit.place)
    numbers = [columns.class_number(key) for key in unit.classes]
    for place, (path, number) in enumerate(zip(unit.files(), np.frombuffer(unit.number, "<u4").tolist(), strict=True)):
        full = os.path.join(os.fsencode(unit.place), path)
        with image_errors(full), open(full, "rb", buffering=0) as file:
            data = file.read()
        if is_image(data):
            columns.add(numbers[number], place, len(data), zlib.crc32(data))
        else:
            columns.pass_over("files that are not JPEG, PNG or WebP, whatever their ending", os.fsdecode(path))
        report(1)
    return columns


READERS: dict[str, Callable[[Unit, Report], Columns]] = {
    "tar": _read_tar,
    "parquet": _read_parquet,
    "images": _read_images,
}


class image_errors:  # noqa: N801  a context manager, quicker than a generator for millions of files
    """Raise InputError in place of an OSError of an image file."""

    def __init__(self, path: bytes):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, OSError):
            leads_nowhere = os.path.islink(self.path) and not os.path.exists(self.path)
            reason = "it is a link that leads nowhere" if leads_nowhere else error.strerror
            raise InputError(f"cannot read the image {os.fsdecode(self.path)} ({reason}): mend or remove it") from error
