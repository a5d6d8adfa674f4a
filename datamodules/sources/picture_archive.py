"""Pictures in a zip or tar file, a folder for each class, possibly in an archive within the archive."""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from datamodules.reading.image_files import ENDINGS, is_clutter
from lightning_meta.core import InputError

TARS = (".tar", ".tar.gz", ".tgz")
FAULTS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError)


class Pictures(NamedTuple):
    """The pictures of an open archive.

    path: the archive file.
    classes: the names of its pictures by class, which is the folder that they are in; in the order of the archive.
    content: returns the bytes of a picture.
    """

    path: Path
    classes: dict[str, list[str]]
    content: Callable[[str], bytes]

    def read(self, name: str) -> bytes:
        """Return the bytes of a picture; raise InputError if the archive is damaged."""
        with intact(self.path):
            return self.content(name)


@contextmanager
def open_archive(path: Path) -> Iterator[Pictures]:
    """Open a zip or tar file of pictures. If a zip file holds a tar file of pictures and none itself, that is opened.

    Raises:
        InputError: If the archive is damaged.
    """
    with ExitStack() as stack:
        with intact(path):
            pictures = _open(path, stack)
        yield pictures


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Raise InputError in place of the errors that a damaged archive makes."""
    try:
        yield
    except InputError:
        raise
    except FAULTS as error:
        raise InputError(f"{path} is damaged ({error}): remove it and fetch it again") from error


def _open(path: Path, stack: ExitStack) -> Pictures:
    if path.name.endswith(TARS):
        return _tar(path, stack, stack.enter_context(path.open("rb")))
    archive = stack.enter_context(zipfile.ZipFile(path))
    names = archive.namelist()
    inner = sorted(name for name in names if name.endswith(TARS) and not _hidden(name))
    classes = _by_class(names)
    for name in [] if classes else inner:
        pictures = _tar(path, stack, stack.enter_context(archive.open(name)))
        if pictures.classes:
            return pictures
    return Pictures(path, classes, archive.read)


def _tar(path: Path, stack: ExitStack, file: IO[bytes] | zipfile.ZipExtFile) -> Pictures:
    """Open a tar file. Pictures are read fastest in its own order, for a compressed one has to be read from its begin."""
    archive = stack.enter_context(tarfile.open(fileobj=file))  # type: ignore[call-overload]  # noqa: SIM115  it is one
    members = {member.name: member for member in archive if member.isfile()}

    def content(name: str) -> bytes:
        picture = archive.extractfile(members[name])
        assert picture is not None  # it is a file
        return picture.read()

    return Pictures(path, _by_class(members), content)


def _by_class(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of pictures by the folder that they are in."""
    classes: dict[str, list[str]] = {}
    for name in names:
        if name.lower().endswith(ENDINGS) and "/" in name and not _hidden(name):
            classes.setdefault(PurePosixPath(name).parent.name, []).append(name)
    return classes


def _hidden(name: str) -> bool:
    return any(part not in (".", "") and is_clutter(part) for part in name.split("/"))
