"""Files that are there whole or not at all."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EEXIST, EFBIG, EISDIR, ELOOP, ENAMETOOLONG, ENOSPC, ENOTDIR, ENXIO, EPERM, EROFS
from pathlib import Path
from typing import Any

from lightning_meta.core.errors import InputError

BLOCK = 4096  # bytes that a disk which is not full takes
REMEDIES = {
    ENOSPC: "make room or choose another folder",
    EDQUOT: "make room within the quota or choose another folder",
    EFBIG: "choose a folder on a disk that takes such large files",
    EROFS: "choose a folder that can be written to",
    EACCES: "choose a folder that can be written to",
    EPERM: "choose a folder that can be written to",
    ENAMETOOLONG: "choose a shorter name",
    ENOTDIR: "a part of this path is a file: choose another folder",
    EEXIST: "a part of this path is a file: choose another folder",
    ELOOP: "its links lead in a circle: choose another folder",
    ENXIO: "choose a folder that can be written to",
    EISDIR: "this is a folder: choose another name",
}


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a file or a folder to, moved to it when the block ends without an error.

    Makes the parent folder. Of a link, what it leads to is written. Where the block fails, what stood at `path` before is still
    whole and nothing else is left. Raises InputError where the disk is full or the place cannot be written to.
    """
    path = target(path)
    aside = path.with_name(f"{path.stem}.partial{path.suffix}")  # the ending tells a plotter the format
    made: list[Path] = []
    try:
        with storage_errors(path):
            made = make_parent(path)
            yield aside
            aside.replace(path)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink(missing_ok=True)
            remove(made)
        raise


def check_writable(*paths: Path) -> None:
    """Raise InputError now where `whole(path)` would do so in the end: the disk is full, or the place cannot be written
    to. Leaves nothing."""
    for path in map(target, paths):
        made: list[Path] = []
        try:
            with storage_errors(path):
                if path.is_dir():
                    raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
                made = make_parent(path)
                with tempfile.TemporaryFile(dir=path.parent, buffering=0) as file:
                    file.write(bytes(BLOCK))
        finally:
            with suppress(OSError):
                remove(made)


def target(path: Path) -> Path:
    """The file that is written: of a link, the one it leads to. Raises InputError for a device, a pipe or a socket, and for
    links that lead in a circle."""
    with storage_errors(path):
        path = path.resolve(strict=True) if path.exists() and path.is_symlink() else path
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"cannot write {path} (it is a device, a pipe or a socket): give the name of a file")
    return path


def make_parent(path: Path) -> list[Path]:
    """Make the folder that `path` is in; those that were not there before, the innermost first."""
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # as below /proc, where none can be made
        raise InputError(f"cannot write {path} ({path.parent} cannot be made): choose another folder") from error
    return missing


def remove(folders: list[Path]) -> None:
    """Remove folders that are empty; OSError at the first that is not."""
    for folder in folders:
        folder.rmdir()


@contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """InputError in the place of an OSError that says a disk is full or a place cannot be written to (`REMEDIES`)."""
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise InputError(cannot_write(path, error)) from error


def cannot_write(path: str | Path, error: OSError) -> str:
    """The message for an OSError that writing below `path` ended in."""
    return f"cannot write {path} ({error.strerror}): {REMEDIES[error.errno or 0]}"


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """JSON has no nan and no infinity: they become null."""
    with whole(path) as aside:
        aside.write_text(json.dumps(_finite(value), indent=indent, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
