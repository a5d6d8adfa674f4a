"""A file at a URL that is read on where a failing network broke off."""

import io
from contextlib import suppress
from typing import Any

from aiohttp import ClientPayloadError

from datamodules.reading.remote import persist, storage_of
from lightning_meta.core import InputError

REQUEST = 2**23  # bytes per request, where a storage is read in ranges


def remote_info(url: str, patient: bool = True) -> dict[str, Any]:
    """Return what a storage says about a file: at least its size."""

    def info() -> dict[str, Any]:
        storage, path = storage_of(url)
        try:
            return storage.info(path)
        except FileNotFoundError as error:  # of HTTP, it hides why
            cause = error.__cause__
            if isinstance(cause, Exception) and getattr(cause, "status", None) not in (404, 410):
                raise cause from error
            raise

    known = persist(info, f"cannot read {url}", patient)
    if not isinstance(known.get("size"), int):
        raise InputError(
            f"{url} has no length that its server knows, so images in it cannot be found again: copy it here"
        )
    return known


class RemoteFile(io.RawIOBase):
    """A file at a URL. If a read fails, it is tried again from the same byte on.

    Read from its beginning to its end, a file comes over HTTP as one stream. Elsewhere, after a failure and after `seek` it is
    read in ranges, which not every HTTP server sends.

    Args:
        url: The URL.
        size: Length of the file in bytes.
    """

    def __init__(self, url: str, size: int):
        super().__init__()
        self.url, self.size, self.position = url, size, 0
        self._file: Any = None
        self._streams = url.startswith(("http://", "https://"))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        if begin + offset != self.position:
            self.position = begin + offset
            self._drop()
        return self.position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.size - self.position)
        if wanted <= 0:
            return 0
        data = persist(lambda: self._read(wanted), f"cannot read {self.url} at byte {self.position}")
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

    def close(self) -> None:
        self._drop()
        super().close()

    def _read(self, size: int) -> bytes:
        try:
            self._file = self._file or self._open()
            data = self._file.read(size)
            if not data:
                raise ClientPayloadError(f"it ended after {self.position} of {self.size} bytes")
            return data
        except BaseException:
            self._drop()
            raise

    def _open(self) -> Any:
        storage, path = storage_of(self.url)
        length = {"size": self.size} if self._streams else {}
        if self._streams and not self.position:
            return storage.open(path, "rb", block_size=0, **length)
        file = storage.open(path, "rb", block_size=REQUEST, cache_type="readahead", **length)
        file.seek(self.position)
        return file

    def _drop(self) -> None:
        if self._file is not None:
            with suppress(Exception):
                self._file.close()
            self._file = None
