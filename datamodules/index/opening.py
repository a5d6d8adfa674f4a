"""Opening of an index in a folder or at a URL."""

import uuid
from pathlib import Path

from datamodules.index.columns import open_columns
from datamodules.index.header import COLUMNS, FILE, Header
from datamodules.index.shard_index import Index
from datamodules.reading import remote
from datamodules.reading.cache_folder import cache_folder
from lightning_meta.core import InputError
from lightning_meta.core.files import storage_errors


def is_remote(root: str) -> bool:
    """Return whether the root of a set is a URL and not a local folder."""
    return "://" in root or "::" in root


def read_index(root: str) -> Index:
    """Open the index in a folder or at any fsspec URL; raise InputError if there is none.

    Opening reads the head and looks at the length of the columns. The columns of a remote index are first copied whole to
    the folder of cached files, once per machine.
    """
    where = f"{root.rstrip('/')}/{FILE}"
    if not is_remote(root) and not Path(where).is_file():
        raise InputError(
            f"no shards at {root!r}: there is no {FILE}. Write them first, for example"
            f" `lightning-meta shards write glyphs --out {root}`"
        )
    text = remote.read(where) if is_remote(root) else Path(where).read_bytes()
    header = Header.from_json(text, where)
    path = _copied(root.rstrip("/"), header) if is_remote(root) else Path(root) / COLUMNS
    return Index(where, header, open_columns(path, header.columns, header.size, header.checksums, header.kinds))


def _copied(root: str, header: Header) -> Path:
    """Return the local copy of the columns of a remote index, after making it if it is not there or has another length."""
    home = cache_folder()
    path = home / f"{header.checksums}.columns"
    if not (path.is_file() and path.stat().st_size == header.size):
        with storage_errors(f"{home}, the cache of remote files (LIGHTNING_META_CACHE names another)"):
            home.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(f".{uuid.uuid4().hex}.partial")
            try:
                remote.fetch(f"{root}/{COLUMNS}", aside)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
    return path
