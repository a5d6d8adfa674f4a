"""Sources of images with known answers: tars, parquet files and folders, and what an index says of them."""

import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from datamodules.index.opening import read_index
from datamodules.reading.parquet_pages import ParquetColumn, ReadAt

SIZE = 8
Pictures = dict[str, set[bytes]]  # the images of each class


def picture(seed: int, kind: str = "PNG") -> bytes:
    """An image file, another for each seed."""
    values = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


def write_tar(
    path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]], form: int = tarfile.GNU_FORMAT
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(numbers: Sequence[int], classes: int = 6) -> list[tuple[str, bytes]]:
    """Members of a WebDataset: image, class number and a document for each of these samples."""
    members = []
    for i in numbers:
        document = {"label": f"name {i % classes}", "nested": {"group": f"group {i % classes % 2}"}}
        members += [(f"{i:04d}.cls", b"%d\n" % (i % classes)), (f"{i:04d}.jpg", picture(i, "JPEG"))]
        members.append((f"{i:04d}.json", json.dumps(document).encode()))
    return members


def pictures_of(numbers: Iterable[int], classes: int = 6, name: str = "{}", kind: str = "JPEG") -> Pictures:
    """The images of such samples by class."""
    known: Pictures = {}
    for i in numbers:
        known.setdefault(name.format(i % classes), set()).add(picture(i, kind))
    return known


def write_parquet(path: Path, numbers: Sequence[int], names: Sequence[str], **columns: Any) -> Path:
    """A file as Hugging Face writes it, in row groups of 5 rows; further columns beside."""
    features = {"image": {"_type": "Image"}, "label": {"names": [*names], "_type": "ClassLabel"}}
    pictures = pa.array([{"bytes": picture(i), "path": f"{i}.png"} for i in numbers])
    table = pa.table({"image": pictures, "label": pa.array([i % len(names) for i in numbers], pa.int64()), **columns})
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(meta), path, row_group_size=5)
    return path


def write_folders(root: Path, classes: Mapping[str, Iterable[int]]) -> Path:
    for name, numbers in classes.items():
        (root / name).mkdir(parents=True)
        for i in numbers:
            (root / name / f"{i}.png").write_bytes(picture(i))
    return root


def indexed(out: Path) -> Pictures:
    """The bytes at each place that an index records, by class; lengths and checksums are compared."""
    index = read_index(str(out))
    roots = yaml.safe_load((out / "task.yaml").read_text())["data"]["init_args"]["roots"]
    images: Pictures = {}
    for record in index.records:
        for source, offset, size, crc32, _ in record.blobs:
            root, path = index.roots[index.sources[source].root], index.sources[source].path
            place = Path(roots[root.name]) / path
            assert place.stat().st_size == index.sources[source].bytes
            if root.format == "parquet":
                with place.open("rb") as file:
                    column = ParquetColumn(str(place), reader(file), pq.read_metadata(place), root.column)
                    data = column.read(offset, size)
            else:
                data = place.read_bytes()[offset : offset + size]
            assert len(data) == size
            assert zlib.crc32(data) == crc32
            images.setdefault(record.name, set()).add(data)
        assert len(images[record.name]) == record.count
    return images


def reader(file: BinaryIO) -> ReadAt:
    """A reader of bytes anywhere in an open file."""

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read_at


def content(out: Path) -> dict[str, bytes]:
    """The bytes of every file of an index but its task file, which names the place."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "task.yaml"}
