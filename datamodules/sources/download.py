"""Files of official data sets, downloaded once and kept only if their checksum is right."""

import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path

from rich.progress import Progress

from lightning_meta.core import InputError
from lightning_meta.core.files import whole

SILENCE = 60  # seconds without a byte after which a server is given up
BLOCK = 2**20  # bytes that are read at a time


def download_file(url: str, checksum: str, path: Path) -> None:
    """Download a file to `path`.

    Args:
        url: Its address.
        checksum: Its kind of checksum and the checksum in hexadecimal digits, such as `md5:68d2...`.
        path: The file to write.

    Raises:
        InputError: If it cannot be fetched, or has another checksum. Nothing is kept then.
    """
    kind, expected = checksum.split(":")
    digest = hashlib.new(kind)
    with whole(path) as aside:
        try:
            with (
                urllib.request.urlopen(url, timeout=SILENCE) as response,
                aside.open("wb") as file,
                Progress() as progress,
            ):
                bar = progress.add_task(path.name, total=int(response.headers.get("Content-Length", 0)) or None)
                while block := response.read(BLOCK):
                    digest.update(block)
                    file.write(block)
                    progress.advance(bar, len(block))
        except (OSError, HTTPException) as error:
            raise InputError(f"cannot download {url}: {error}. Fetch it by other means as {path}") from error
        if digest.hexdigest() != expected:
            raise InputError(
                f"{url} came with {kind} {digest.hexdigest()}, expected {expected}: not kept. Try again later"
            )
