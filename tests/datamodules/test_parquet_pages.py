"""Single values of a parquet file are found by their pages, whatever writer, compression and nulls; damage is told as such."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.reading.damage import DamageError
from datamodules.reading.parquet_pages import ParquetColumn, chunk_values, column_chunks, place_of
from support.image_sources import reader

ROWS = 900
Values = list[bytes | None]


def unique() -> Values:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, int(rng.integers(0, 900)), dtype=np.uint8).tobytes() for _ in range(ROWS)]


VALUES: dict[str, Values] = {
    "unique": list(unique()),
    "repeated": [b"%d" % (i % 7) * 40 for i in range(ROWS)],
    "with nulls": [None if i % 3 == 0 else value for i, value in enumerate(unique())],
    "only nulls": [None] * ROWS,
}


def written(values: Sequence[bytes | None], struct: bool, **options: Any) -> tuple[bytes, str]:
    """A file of three row groups with several pages each, and the name of its column."""
    cells = [value and {"bytes": value, "path": "x"} for value in values] if struct else values
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
    table = pa.table({"image": pa.array(cells, kind), "label": pa.array(range(len(values)))})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=400, data_page_size=20_000, **options)
    return file.getvalue(), "image.bytes" if struct else "image"


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [True, False])
@pytest.mark.parametrize("values", VALUES)
def test_every_value_is_found_again(compression: str, version: str, use_dictionary: bool, values: str) -> None:
    known = [value or None for value in VALUES[values]] if version == "2.0" else VALUES[values]
    options = {"compression": compression, "data_page_version": version, "use_dictionary": use_dictionary}
    data, column = written(known, version == "2.0", **options)
    metadata, read_at = pq.read_metadata(io.BytesIO(data)), reader(io.BytesIO(data))
    scanned = [one for chunk in column_chunks(metadata, column) for one in chunk_values(read_at, chunk)]
    assert [one and bytes(one[1]) for one in scanned] == known
    opened = ParquetColumn("x", read_at, metadata, column)
    for i in np.random.default_rng(1).permutation(ROWS)[:200].tolist():
        value = known[i]
        if value is not None:
            assert opened.read(scanned[i][0], len(value)) == value


def test_damage_is_told_as_such() -> None:
    """Any byte of the pages may be another one: the value differs, or DamageError is raised; nothing else happens."""
    data, column = written(VALUES["with nulls"], True, compression="snappy")
    metadata = pq.read_metadata(io.BytesIO(data))
    (first, *_) = chunks = column_chunks(metadata, column)
    places = [one[0] for chunk in chunks for one in chunk_values(reader(io.BytesIO(data)), chunk) if one]
    rng, refused = np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[first.first + int(rng.integers(0, 60))] ^= 1 << int(rng.integers(0, 8))
        try:
            ParquetColumn("x", reader(io.BytesIO(damaged)), metadata, column).read(places[5], 10)
        except DamageError:
            refused += 1
    assert refused > 250
    intact = ParquetColumn("x", reader(io.BytesIO(data)), metadata, column)
    for place in (0, place_of(first.last + 10**6, 0), places[0] + 10**5, 2**63 - 1):
        with pytest.raises(
            DamageError, match=r"image \d+ of the page at byte \d+ of x cannot be read .*index the file again"
        ):
            intact.read(place, 10)
    with pytest.raises(DamageError, match="x has no column other of single values"):
        ParquetColumn("x", reader(io.BytesIO(data)), metadata, "other")
