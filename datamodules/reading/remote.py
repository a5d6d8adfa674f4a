"""Files at a URL, fetched again if the network fails for a while, but not after any other error."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from aiohttp import ClientError, ClientPayloadError, ClientTimeout, ServerDisconnectedError

from datamodules.reading.damage import DamageError
from lightning_meta.core import InputError
from lightning_meta.core.files import REMEDIES

Result = TypeVar("Result")
DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each further try
SILENCE = 60.0  # seconds without a byte after which a server is given up; the whole file may take any time
TEMPORARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)

log = logging.getLogger(__name__)


def fetch(url: str, target: Path) -> None:
    """Copy the file at `url` to the local file `target`.

    Raises:
        DamageError: If there is no such file.
        InputError: If it cannot be reached after all tries.
        OSError: If the local disk fails.
    """

    def copy() -> None:
        storage, path = storage_of(url)
        storage.get_file(path, str(target))

    persist(copy, f"cannot copy {url} here")


def fetch_ranges(ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Return ranges of bytes of files, many of them fetched at a time.

    Args:
        ranges: For each the URL, and the bytes from the first up to, but without, the last.

    Raises:
        DamageError: If a file is missing, or shorter than the range.
        InputError: If it cannot be reached after all tries, or the server does not give parts of files.
    """
    fetched: dict[tuple[str, int, int], bytes] = {}

    def rest() -> None:
        missing = [one for one in ranges if one not in fetched]
        storage, paths = storage_of(missing[0][0])[0], [storage_of(url)[1] for url, _, _ in missing]
        starts, ends = [first for _, first, _ in missing], [last for _, _, last in missing]
        came = storage.cat_ranges(paths, starts, ends, on_error="return")
        fetched.update({one: data for one, data in zip(missing, came, strict=True) if isinstance(data, bytes)})
        for failed in came:
            if isinstance(failed, BaseException):
                raise failed

    persist(rest, f"cannot read {ranges[0][0]}")
    for (url, first, last), data in ((one, fetched[one]) for one in ranges):
        if len(data) > last - first:
            raise InputError(
                f"{url} came whole, where {last - first} bytes of it were asked for: the server does not give parts of files."
                " Let the cache hold the whole set (data.cache_gigabytes), or serve it by another server"
            )
        if len(data) < last - first:
            raise DamageError(
                f"{url} ends before byte {last}: it is truncated, or belongs to another version of the set"
            )
    return [fetched[one] for one in ranges]


def read(url: str) -> bytes:
    """Return the content of the file at `url`.

    Raises:
        DamageError: If there is no such file.
        InputError: If it cannot be reached; at once if no server answers, because at the start of a run the address is then
            most likely wrong.
    """

    def content() -> bytes:
        storage, path = storage_of(url)
        return storage.cat_file(path)

    return persist(content, f"cannot read {url}", patient=False)


def persist(act: Callable[[], Result], failed: str, patient: bool = True) -> Result:
    """Return the result of `act`, trying again after each of DELAYS if the network fails.

    Args:
        act: The operation.
        failed: Beginning of the message if it fails.
        patient: Whether to try again even if no server has answered.
    """
    for delay in (*DELAYS, None):
        try:
            return act()
        except Exception as error:  # every kind of storage raises errors of its own
            if isinstance(error, OSError) and not isinstance(error, ClientError) and error.errno in REMEDIES:
                raise
            if isinstance(error, FileNotFoundError):
                raise DamageError(f"{failed}: there is no such file ({reason(error)}). Check the address") from error
            if is_refusal(error):
                raise InputError(f"{failed}: access is refused ({reason(error)}). Check the credentials") from error
            if delay is None or is_lasting(error) or not (patient or has_answered(error)):
                raise InputError(f"{failed}: {reason(error)}. Check the address and the network") from error
            log.warning("%s: %s; trying again in %g s", failed, reason(error), delay)
            time.sleep(delay)
    raise AssertionError("the last try returns or raises")


def reason(error: BaseException) -> str:
    """Return the message of an error, or its type if it has none."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError) and not str(error):
        return f"the server was silent for {SILENCE:g} s"
    return str(error) or type(error).__name__


def is_lasting(error: BaseException) -> bool:
    """Return whether the server refuses, so that another try would not help."""
    status = getattr(error, "status", None)
    lasting = isinstance(status, int) and 400 <= status < 500 and status not in TEMPORARY
    return lasting or isinstance(error, PermissionError | ImportError | NotImplementedError | ValueError)


def is_refusal(error: BaseException) -> bool:
    """Return whether the server wants credentials, or others."""
    refusals = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return getattr(error, "status", None) in refusals or isinstance(error, PermissionError)


def has_answered(error: BaseException) -> bool:
    """Return whether a server answered at all."""
    status = getattr(error, "status", None)
    return isinstance(status, int) or isinstance(
        error, ClientPayloadError | ServerDisconnectedError | ConnectionResetError
    )


def storage_of(url: str) -> tuple[Any, str]:
    """Return fsspec's file system and path for a URL, without the HTTP limit of 300 seconds for a whole file."""
    timeout = ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
    protocols = {part.partition("://")[0] for part in url.split("::")}
    options = {name: {"client_kwargs": {"timeout": timeout}} for name in protocols & {"http", "https"}}
    return fsspec.url_to_fs(url, **options)
