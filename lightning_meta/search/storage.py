"""Store a search, and end it cleanly if the storage fills up or vanishes."""

import errno
import io
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.tune import Checkpoint

from lightning_meta.search.options import Search

LITTLE = 2**20  # bytes: with less, a disk is full


def stored(options: Search, folder: Path) -> tuple[str, str]:
    """Return the storage in which Ray keeps the checkpoints of the search in `folder`, and the name within it."""
    if options.storage is None:
        return str(folder.parent), folder.name
    place = os.path.abspath(options.storage) if is_local(options.storage) else options.storage
    return place, f"{folder.parent.name}-{folder.name}"


def trouble(places: list[str]) -> str | None:
    """Return a message if a storage location is missing or full, otherwise None."""
    for place in filter(is_local, places):
        if not Path(place).is_dir():
            return f"{place} is gone"
        if shutil.disk_usage(place).free < LITTLE:
            return f"the disk of {place} is full"
    return None


def no_space(said: str) -> bool:
    """Return whether an error says that a disk, or the user's quota of it, is full."""
    return any(os.strerror(code) in said for code in (errno.ENOSPC, errno.EDQUOT))


def is_local(place: str) -> bool:
    return "://" not in place


def filesystem(place: str) -> PyFileSystem | None:
    """Through which Ray writes to a place on this machine: a driver killed at any moment leaves a state that can be read.
    None for others, whose objects appear when they are whole anyway."""
    return PyFileSystem(FSSpecHandler(WholeFiles())) if is_local(place) else None


class WholeFiles(LocalFileSystem):
    """This machine's files, written aside and renamed.

    Ray replaces a trial's checkpoint before it saves a state that names the new one: a driver killed in between could not
    continue from the state. A replaced checkpoint is therefore deleted when the second state after that is saved, since the
    first may have been taken before.
    """

    replaced: ClassVar[list[str]] = []  # since the last state was saved
    outdated: ClassVar[list[str]] = []  # before that

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        return Aside(path) if mode == "wb" else super()._open(path, mode, block_size, **options)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        if os.path.basename(path).startswith("checkpoint_"):
            self.replaced.append(path)
        else:
            super().rm(path, recursive, maxdepth)

    @classmethod
    def state_saved(cls) -> None:
        """Delete the checkpoints that no saved state names any more."""
        for path in cls.outdated:
            shutil.rmtree(path, ignore_errors=True)
        cls.outdated, cls.replaced = cls.replaced, []


class Aside(io.BufferedWriter):
    """Becomes the file `path` when all of it was written and it is closed."""

    def __init__(self, path: str):
        self.path, self.aside, self.whole = path, f"{path}.aside", True
        super().__init__(io.FileIO(self.aside, "w"))

    def write(self, data: Any) -> int:
        self.whole = False
        written = super().write(data)
        self.whole = True
        return written

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self.whole:
            os.replace(self.aside, self.path)
            if os.path.basename(self.path).startswith("experiment_state"):
                WholeFiles.state_saved()


def in_place(checkpoint: Checkpoint | None) -> Checkpoint | None:
    """The same, to be read where it lies if that is on this machine: Ray copies what it does not know as local."""
    files = checkpoint.filesystem if checkpoint else None
    handler = getattr(files, "handler", None)
    own = isinstance(handler, FSSpecHandler) and isinstance(handler.fs, WholeFiles)
    return Checkpoint(checkpoint.path) if checkpoint and own else checkpoint


class Reserve:
    """Room set aside in the places of a search that are on this machine. Ray writes the state of the search over the old
    one, which on a full disk would leave it cut short; the room is given back first."""

    def __init__(self, places: list[str], size: int):
        self.places, self.size = places, size

    def take(self) -> None:
        """OSError where there is no room."""
        for file in self.files():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bytes(self.size))

    def give_back(self) -> None:
        for file in self.files():
            with suppress(OSError):  # the place may be gone
                file.unlink(missing_ok=True)

    def files(self) -> list[Path]:
        return [Path(place, ".reserve") for place in filter(is_local, self.places)]


def append(path: Path, line: str) -> None:
    """Append a line, whole or not at all; OSError where it cannot be."""
    size = path.stat().st_size if path.is_file() else 0
    try:
        with path.open("a") as file:
            file.write(line + "\n")
    except OSError:
        os.truncate(path, size)
        raise


def mend(path: Path) -> None:
    """Cut off a last line that a kill cut short."""
    if path.is_file():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
