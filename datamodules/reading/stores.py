"""Places that the sources of a set are read from: a folder, or a URL whose files are copied here."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from datamodules.index.shard_index import Source
from datamodules.index.verification import check_link
from datamodules.reading.cache import ShardCache
from datamodules.reading.damage import DamageError
from datamodules.reading.shard_file import REMEDY, ShardFile
from lightning_meta.core import InputError

OPEN = 64  # local files of a set that are open at a time; the usual limit of a process is 1,024 files, or 256


class ByteRange(NamedTuple):
    """A range of bytes in a source, with the CRC-32 that the index says it has."""

    source: Source
    offset: int
    bytes: int
    crc32: int


@runtime_checkable
class Opened(Protocol):
    """A source that is open for reading."""

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes of an image or array by its place in the index."""
        ...


class Store(ABC):
    """The sources below one root."""

    @abstractmethod
    def open(self, source: Source) -> Opened:
        """Return a source, open for reading.

        Raises:
            DamageError: If it is missing or has another length than the index says.
            InputError: If it cannot be opened.
        """

    @abstractmethod
    def where(self, source: Source) -> str:
        """Return the path or URL of a source, for messages."""

    is_lasting: bool = True  # whether bytes that were read once stay the same for as long as the set is open

    def refresh(self, places: Sequence[ByteRange]) -> bool:  # noqa: ARG002  the default keeps no copies
        """Fetch bytes again whose local copy is missing or damaged; return False if there are no copies."""
        return False

    def prefetch(self, places: Sequence[ByteRange]) -> None:
        """Fetch bytes that will be read next, several ranges at a time."""


class Folder(Store):
    """The sources in a folder of this machine, with at most `OPEN` of them open at a time.

    Args:
        folder: The folder.
        own: Whether it is the folder of the index itself; a link in it must not lead out of it.
    """

    def __init__(self, folder: str, own: bool):
        self.folder, self.own = folder, own
        self._files: dict[Source, ShardFile] = {}  # the most recently used comes last

    def open(self, source: Source) -> ShardFile:
        file = self._files.pop(source, None)
        if file is None:
            while len(self._files) >= OPEN:
                self._files.pop(next(iter(self._files)))
            file = self._open(source)
        self._files[source] = file
        return file

    def where(self, source: Source) -> str:
        return f"{self.folder}/{source.path}"

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_files": {}}

    def _open(self, source: Source) -> ShardFile:
        if self.own:
            check_link(Path(self.folder), source.path)
        return open_shard(self.where(source), source)


def open_shard(where: str, source: Source) -> ShardFile:
    """Open a source of this machine.

    Raises:
        DamageError: If it is missing or has another length than the index says.
        InputError: If it cannot be opened.
    """
    try:
        return ShardFile(Path(where), source.bytes)
    except FileNotFoundError as error:
        raise DamageError(f"shard {where} is missing; the index says {source.bytes} bytes. {REMEDY}") from error
    except OSError as error:
        raise InputError(
            f"shard {where} cannot be opened ({error.strerror}): check that it may be read, and `ulimit -n`"
        ) from error


class Copies(Store):
    """Shards at a URL, each copied whole into the cache before it is read.

    Args:
        url: The URL that they are below.
        cache: The cache.
    """

    def __init__(self, url: str, cache: ShardCache):
        self.url, self.cache = url, cache
        self._files: dict[Source, ShardFile] = {}  # the most recently used comes last
        self._tried: set[Source] = set()  # to copy beforehand

    def open(self, source: Source) -> ShardFile:
        file = self._files.pop(source, None)
        if file is None:
            while len(self._files) >= OPEN:
                self._files.pop(next(iter(self._files)))
            file = self.cache.open(self.where(source), source, in_use=self._files)
        else:
            file.touch()
        self._files[source] = file
        return file

    def where(self, source: Source) -> str:
        return f"{self.url}/{source.path}"

    def prefetch(self, places: Sequence[ByteRange]) -> None:
        for source in sorted({place.source for place in places} - self._tried):
            self._tried.add(source)  # one that is damaged, or removed to make room, is left to the reader
            with suppress(DamageError):
                self.open(source)

    def refresh(self, places: Sequence[ByteRange]) -> bool:
        for source in {place.source for place in places}:
            self._files.pop(source, None)
            self.cache.discard(source)
        return True

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_files": {}, "_tried": set()}
