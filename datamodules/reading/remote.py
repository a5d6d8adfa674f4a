"""Files behind a URL: fetched again where the network fails for a while, and nothing else taken for that."""

import asyncio
import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from aiohttp import ClientError, ClientPayloadError, ClientTimeout, ServerDisconnectedError

from datamodules.reading.damage import DamageError
from lightning_meta.core import InputError
from lightning_meta.core.files import REMEDIES

Found = TypeVar("Found")
DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each further try
SILENCE = 60.0  # seconds without a byte after which a server is given up; in all, a file may take as long as it takes
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)

log = logging.getLogger(__name__)


def fetch(url: str, target: Path) -> None:
    """Copy `url` to the file `target`.

    Raises DamageError where there is no such file, and InputError where it cannot be reached after as many tries as there
    are DELAYS. An OSError of the local disk passes.
    """

    def copy() -> None:
        storage, path = _storage(url)
        storage.get_file(path, str(target))

    persist(copy, f"cannot copy {url} here")


def read(url: str) -> bytes:
    """What is at `url`. Raises InputError as `fetch` does, at once where nobody answers at all: at the start of a run that
    is a wrong address."""

    def content() -> bytes:
        storage, path = _storage(url)
        return storage.cat_file(path)

    return persist(content, f"cannot read {url}", patient=False)


def persist(act: Callable[[], Found], failed: str, patient: bool = True) -> Found:
    """What `act` returns, tried again where the network fails. Not `patient`, where nobody has answered it fails at once."""
    for delay in (*DELAYS, None):
        try:
            return act()
        except Exception as error:  # every kind of storage raises its own
            if isinstance(error, OSError) and not isinstance(error, ClientError) and error.errno in REMEDIES:
                raise
            if isinstance(error, FileNotFoundError):
                raise DamageError(f"{failed}: there is no such file ({reason(error)}). Check the address") from error
            if delay is None or is_lasting(error) or not (patient or has_answered(error)):
                raise InputError(f"{failed}: {reason(error)}. Check the address and the network") from error
            log.warning("%s: %s; trying again in %g s", failed, reason(error), delay)
            time.sleep(delay)
    raise AssertionError("the last try returns or raises")


def reason(error: BaseException) -> str:
    """What an error says, or what kind it is where it says nothing."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError) and not str(error):
        return f"the server was silent for {SILENCE:g} s"
    return str(error) or type(error).__name__


def is_lasting(error: BaseException) -> bool:
    """Whether the server refuses, which another try does not change; an HTTP status or nothing is known of it."""
    status = getattr(error, "status", None)
    lasting = isinstance(status, int) and 400 <= status < 500 and status not in PASSING
    return lasting or isinstance(error, PermissionError | ImportError | NotImplementedError | ValueError)


def has_answered(error: BaseException) -> bool:
    """Whether a server was there at all."""
    status = getattr(error, "status", None)
    return isinstance(status, int) or isinstance(
        error, ClientPayloadError | ServerDisconnectedError | ConnectionResetError
    )


def _storage(url: str) -> tuple[Any, str]:
    """fsspec's file system and path, over HTTP without the limit of 300 seconds for a whole file."""
    timeout = ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
    protocols = {part.partition("://")[0] for part in url.split("::")}
    options = {name: {"client_kwargs": {"timeout": timeout}} for name in protocols & {"http", "https"}}
    return fsspec.url_to_fs(url, **options)
