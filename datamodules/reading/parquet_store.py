"""Sources that are parquet files, of which single images are read."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.index.shard_index import Source
from datamodules.reading.damage import DamageError
from datamodules.reading.parquet_pages import ParquetColumn
from datamodules.reading.remote import fetch_ranges
from datamodules.reading.shard_file import ShardFile
from datamodules.reading.stores import OPEN, Store, open_shard
from datamodules.scanning.remote_file import RemoteFile


class ParquetFiles(Store):
    """Parquet files in a folder or at a URL; of one at a URL, a page is fetched for each image.

    Args:
        place: The folder or URL that they are below.
        remote: Whether it is a URL.
        column: The column of the images, such as `image.bytes`.
    """

    def __init__(self, place: str, remote: bool, column: str):
        self.place, self.remote, self.column = place, remote, column
        self._files: dict[Source, ParquetColumn] = {}  # the most recently used comes last

    def open(self, source: Source) -> ParquetColumn:
        file = self._files.pop(source, None)
        if file is None:
            while len(self._files) >= OPEN:
                self._files.pop(next(iter(self._files)))
            file = self._open(source)
        self._files[source] = file
        return file

    def where(self, source: Source) -> str:
        return f"{self.place}/{source.path}"

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_files": {}}

    def _open(self, source: Source) -> ParquetColumn:
        where = self.where(source)
        if self.remote:
            with RemoteFile(where, source.bytes) as file:
                metadata = _metadata(where, file)

            def fetch(offset: int, size: int) -> bytes:
                last = min(offset + size, source.bytes)
                return fetch_ranges([(where, offset, last)])[0] if offset < last else b""

            return ParquetColumn(where, fetch, metadata, self.column)
        shard: ShardFile = open_shard(where, source)
        with Path(where).open("rb") as file:
            metadata = _metadata(where, file)
        return ParquetColumn(where, lambda offset, size: os.pread(shard.number, size, offset), metadata, self.column)


def _metadata(where: str, file: Any) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise DamageError(f"{where} is damaged, or not a parquet file: copy it again, or index it again") from error
