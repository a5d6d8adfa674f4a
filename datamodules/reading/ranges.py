"""Sources at a URL of which only those ranges are fetched that are needed, several at a time."""

import zlib
from collections.abc import Iterator, Sequence

from datamodules.index.shard_index import Source
from datamodules.reading.cache import ShardCache
from datamodules.reading.remote import fetch_ranges
from datamodules.reading.shard_file import ShardFile
from datamodules.reading.stores import OPEN, ByteRange, Store
from lightning_meta.core.files import storage_errors

PORTION = 32 * 2**20  # bytes that are fetched at a time, which a process holds in memory meanwhile
GAP = 2**15  # bytes between two ranges up to which they are fetched as one


class Ranges(Store):
    """Sources at a URL, read by ranges of bytes and kept in sparse files of the cache.

    Bytes that are in the cache are recognised by their checksum, so that copies of any process serve all others and a damaged
    copy is fetched again.

    Args:
        url: The URL that they are below.
        cache: The cache.
    """

    is_lasting = False  # another process may remove a copy to make room

    def __init__(self, url: str, cache: ShardCache):
        self.url, self.cache = url, cache
        self._files: dict[Source, ShardFile] = {}  # the most recently used comes last

    def open(self, source: Source) -> ShardFile:
        file = self._files.pop(source, None)
        if file is None:
            while len(self._files) >= OPEN:
                self._files.pop(next(iter(self._files)))
            file = self.cache.open_ranges(self.where(source), source)
        self._files[source] = file
        return file

    def where(self, source: Source) -> str:
        return f"{self.url}/{source.path}"

    def current(self, source: Source) -> ShardFile:
        """Open the file that other processes see too: not one that was removed to make room, which `open` still reads, so that
        what was just fetched cannot be lost before it is read."""
        if source in self._files and self._files[source].is_removed():
            del self._files[source]
        return self.open(source)

    def prefetch(self, places: Sequence[ByteRange]) -> None:
        missing = [place for place in dict.fromkeys(places) if not self._is_here(place)]
        if missing:
            self.refresh(missing)

    def refresh(self, places: Sequence[ByteRange]) -> bool:
        for joined in portions(join_ranges(places)):
            data = fetch_ranges([(self.where(source), first, last) for source, first, last in joined])
            with storage_errors(
                f"{self.cache.folder}, the cache of remote shards (LIGHTNING_META_CACHE names another)"
            ):
                for (source, first, _), piece in zip(joined, data, strict=True):
                    file = self.current(source)
                    file.write(first, piece)
                    file.touch()
        self.cache.make_room({self.open(place.source).path for place in places})
        return True

    def _is_here(self, place: ByteRange) -> bool:
        return zlib.crc32(self.current(place.source).read(place.offset, place.bytes)) == place.crc32

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_files": {}}


def join_ranges(places: Sequence[ByteRange]) -> list[tuple[Source, int, int]]:
    """Return the ranges [first, last) that cover all places, those joined, up to PORTION, that lie close together."""
    joined: list[tuple[Source, int, int]] = []
    for place in sorted(places, key=lambda place: (place.source, place.offset)):
        first, last = place.offset, place.offset + place.bytes
        source, start, end = joined[-1] if joined else (None, 0, 0)
        if source == place.source and first - end <= GAP and max(last, end) - start <= PORTION:
            joined[-1] = (place.source, start, max(last, end))
        else:
            joined.append((place.source, first, last))
    return joined


def portions(ranges: Sequence[tuple[Source, int, int]]) -> Iterator[list[tuple[Source, int, int]]]:
    """Yield the ranges in lists of up to PORTION bytes; a larger range is a list of its own."""
    portion, size = list[tuple[Source, int, int]](), 0
    for one in ranges:
        length = one[2] - one[1]
        if portion and size + length > PORTION:
            yield portion
            portion, size = [], 0
        portion.append(one)
        size += length
    if portion:
        yield portion
