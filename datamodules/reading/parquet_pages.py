"""Values of a binary column of a parquet file, found by the page that holds them and not by decoding a row group.

A page is some 1 MB, a row group may be a whole file. pyarrow reads the latter only, so the headers of pages are parsed here:
Apache Parquet format 2.11, `parquet.thrift`, in Thrift's compact protocol.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from datamodules.reading.damage import DamageError

HEAD = 2**14  # bytes that hold the header of a page, with its statistics
LARGEST = 2**31 - 1  # bytes of a page
RANKS = 20  # bits of a place that say which value of the page it is
CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "LZ4": "lz4_raw", "ZSTD": "zstd"}  # names of pyarrow
DATA, DICTIONARY, DATA_V2 = 0, 2, 3  # types of pages
PLAIN, OF_DICTIONARY = 0, (2, 8)  # encodings of values

ReadAt = Callable[[int, int], bytes]  # offset and size -> bytes, fewer at the end of the file


class Chunk(NamedTuple):
    """The pages of a column in one row group.

    first: where its first page begins.
    last: where its last page ends.
    values: the number of its values, nulls among them.
    codec: the name of its compression.
    max_level: the definition level of a value that is not null.
    """

    first: int
    last: int
    values: int
    codec: str
    max_level: int


class Page(NamedTuple):
    """A page, decompressed.

    offset: where its header begins.
    end: where the next page begins.
    kind: DATA, DATA_V2 or DICTIONARY.
    encoding: the encoding of its values.
    values: the number of its values, nulls among them.
    levels: the encoded definition levels.
    body: the encoded values.
    """

    offset: int
    end: int
    kind: int
    encoding: int
    values: int
    levels: bytes
    body: bytes


def read_page(read_at: ReadAt, offset: int, chunk: Chunk) -> Page:
    """Read the page whose header begins at `offset`; raise ValueError or pyarrow's errors if it is damaged."""
    head = read_at(offset, HEAD)
    fields, length = _struct(head, 0)
    kind, raw, size = fields[1], fields[2], fields[3]
    begin = offset + length
    if not (0 <= raw <= LARGEST and 0 <= size <= chunk.last - begin):
        raise ValueError("a page is larger than its column")
    data = head[length : length + size]
    if len(data) < size:
        data += read_at(offset + len(head), size - len(data))
    if len(data) < size:
        raise ValueError("a page ends after the file")
    about = fields[{DATA: 5, DICTIONARY: 7, DATA_V2: 8}.get(kind, -1)]
    if kind == DATA_V2:
        levels = about.get(6, 0) + about[5]
        body = data[levels:] if about.get(7) is False else _decompressed(data[levels:], raw - levels, chunk.codec)
        return Page(offset, begin + size, kind, about[4], about[1], data[about.get(6, 0) : levels], body)
    body, levels = _decompressed(data, raw, chunk.codec), b""
    if kind == DATA and chunk.max_level:
        length = int.from_bytes(body[:4], "little")
        levels, body = body[4 : 4 + length], body[4 + length :]
    return Page(offset, begin + size, kind, about[2], about[1], levels, body)


def plain_value(page: Page, rank: int) -> bytes:
    """Return value number `rank`, counted from 0 without nulls, of a page of plain values."""
    body, place = page.body, 0
    for _ in range(rank):
        place += 4 + int.from_bytes(body[place : place + 4], "little")
    size = int.from_bytes(body[place : place + 4], "little")
    if place + 4 + size > len(body):
        raise ValueError("a value lies outside of its page")
    return body[place + 4 : place + 4 + size]


def chunk_values(read_at: ReadAt, chunk: Chunk) -> Iterator[tuple[int, memoryview] | None]:
    """Yield for each row of a column chunk the place and the bytes of its value, or None for a null.

    A place is the offset of a page and the rank of the value in it (see `split_rank`). Of a value in a dictionary, it is that
    of the dictionary.
    """
    offset, left, dictionary = chunk.first, chunk.values, list[tuple[int, memoryview]]()
    while left > 0:
        page = read_page(read_at, offset, chunk)
        offset = page.end
        if page.kind == DICTIONARY:
            dictionary = _plain(page)
            continue
        present = _run_lengths(page.levels, chunk.max_level.bit_length(), page.values) == chunk.max_level
        if not chunk.max_level:
            present = np.ones(page.values, bool)
        if page.encoding == PLAIN:
            values = _plain(page)
        elif page.encoding in OF_DICTIONARY:
            numbers = _run_lengths(page.body[1:], page.body[0], int(present.sum())) if len(page.body) else []
            values = [dictionary[number] for number in numbers]
        else:
            raise ValueError(f"its values have encoding {page.encoding}: write it with plain values or a dictionary")
        following = iter(values)
        for is_there in present.tolist():
            yield next(following) if is_there else None
        left -= page.values


def place_of(offset: int, rank: int) -> int:
    """Return the place of a value as one number."""
    if rank >> RANKS:
        raise ValueError(f"a page holds more than {2**RANKS} values")
    return offset << RANKS | rank


def split_rank(place: int) -> tuple[int, int]:
    """Return the offset of the page and the rank of a value in it."""
    return place >> RANKS, place & (2**RANKS - 1)


def column_chunks(metadata: Any, column: str) -> list[Chunk]:
    """Return the chunks of a column, such as `image.bytes`, from pyarrow's metadata of a file."""
    schema = metadata.schema
    (number,) = (i for i in range(len(schema)) if schema.column(i).path == column)
    level = schema.column(number).max_definition_level
    if schema.column(number).max_repetition_level:
        raise ValueError("it is a list")
    chunks = []
    for group in range(metadata.num_row_groups):
        about = metadata.row_group(group).column(number)
        first = about.data_page_offset
        if about.has_dictionary_page and about.dictionary_page_offset:
            first = min(first, about.dictionary_page_offset)
        chunks.append(Chunk(first, first + about.total_compressed_size, about.num_values, about.compression, level))
    return chunks


def _plain(page: Page) -> list[tuple[int, memoryview]]:
    """Return the places and bytes of the values of a page of plain values."""
    body, place, values = memoryview(page.body), 0, list[tuple[int, memoryview]]()
    while place < len(body):
        size = int.from_bytes(body[place : place + 4], "little")
        if place + 4 + size > len(body):
            raise ValueError("a value lies outside of its page")
        values.append((place_of(page.offset, len(values)), body[place + 4 : place + 4 + size]))
        place += 4 + size
    return values


def _decompressed(data: bytes, size: int, codec: str) -> bytes:
    if codec == "UNCOMPRESSED":
        return data
    if not size:
        return b""
    if codec not in CODECS:
        raise ValueError(f"its compression is {codec}: write it with Snappy, Zstandard or none")
    try:
        return pa.Codec(CODECS[codec]).decompress(data, decompressed_size=size, asbytes=True)
    except OSError as error:  # of pyarrow, for damaged bytes
        raise ValueError(str(error)) from error


def _run_lengths(data: bytes, width: int, count: int) -> Any:
    """Return `count` numbers of `width` bits each in the hybrid of run lengths and packed bits; int64 [count]."""
    parts, have, place = [np.zeros(0, np.int64)], 0, 0
    if not width:
        return np.zeros(count, np.int64)
    while have < count:
        head, place = _varint(data, place)
        many = head >> 1
        if head & 1:
            size = many * width
            bits = np.unpackbits(np.frombuffer(data[place : place + size], np.uint8), bitorder="little")
            part = bits[: len(bits) // width * width].reshape(-1, width) @ (1 << np.arange(width))
        else:
            size = (width + 7) // 8
            part = np.full(min(many, count - have), int.from_bytes(data[place : place + size], "little"))
        if not len(part):
            raise ValueError("levels or numbers of a dictionary are missing")
        parts.append(part)
        have, place = have + len(part), place + size
    return np.concatenate(parts)[:count]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        value |= (data[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if not data[place - 1] & 128:
            return value, place


def _struct(data: bytes, place: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a struct in Thrift's compact protocol, by number, and where it ends."""
    fields, number = dict[int, Any](), 0
    while place < len(data) and depth < 8:
        kind, step = data[place] & 15, data[place] >> 4
        place += 1
        if not kind:
            return fields, place
        if step:
            number += step
        else:
            value, place = _varint(data, place)
            number = value >> 1 ^ -(value & 1)
        fields[number], place = _value(data, place, kind, depth)
    raise ValueError("the header of a page is cut off")


def _value(data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    """Return a value of one of the kinds that headers of pages hold, and where it ends."""
    if kind in (1, 2):
        return kind == 1, place
    if kind == 3:
        return data[place], place + 1
    if kind in (4, 5, 6):
        value, place = _varint(data, place)
        return value >> 1 ^ -(value & 1), place
    if kind == 8:
        size, place = _varint(data, place)
        return None, place + size
    if kind == 12:
        return _struct(data, place, depth + 1)
    raise ValueError("the header of a page is damaged")


class ParquetColumn:
    """A binary column of a parquet file, of which single values are read.

    Args:
        name: Path or URL of the file, for messages.
        read_at: Reads bytes of the file.
        metadata: The metadata of the file, as pyarrow reads it.
        column: The path of the column, such as `image.bytes`.

    Raises:
        DamageError: If the file has no such column.
    """

    def __init__(self, name: str, read_at: ReadAt, metadata: Any, column: str):
        self.path, self.read_at = name, read_at
        try:
            self.chunks = column_chunks(metadata, column)
        except ValueError as error:
            raise DamageError(f"{name} has no column {column} of single values: index it again") from error
        self._firsts = np.array([chunk.first for chunk in self.chunks])
        self._page: Page | None = None  # the last one, for values that lie side by side

    def read(self, offset: int, size: int) -> bytes:
        """Return the value at a place; raise DamageError if there is none of this size."""
        begin, rank = split_rank(offset)
        try:
            if self._page is None or self._page.offset != begin:
                number = int(np.searchsorted(self._firsts, begin, "right")) - 1
                if number < 0:
                    raise ValueError("no page begins there")
                self._page = read_page(self.read_at, begin, self.chunks[number])
            value = plain_value(self._page, rank)
            if len(value) != size:
                raise ValueError(f"it has {len(value)} bytes, where the index says {size}")
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError, pa.ArrowException) as error:
            raise DamageError(
                f"image {rank} of the page at byte {begin} of {self.path} cannot be read ({error}): index the file again"
            ) from error
        return value
