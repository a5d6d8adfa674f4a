"""Images and labels in a parquet file, as Hugging Face's data sets have them."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.reading.damage import DamageError
from datamodules.scanning.image_kinds import is_image
from datamodules.scanning.label_rules import USUAL, Rules
from datamodules.scanning.scanned import ClassKey, Columns
from lightning_meta.core import InputError

BATCH = 256  # rows that are in memory at a time, beside the row group's compressed pages


class ParquetTable:
    """A parquet file whose columns of images and labels are known.

    Args:
        name: Path or URL, for messages.
        file: The file, as pyarrow opens it.

    Raises:
        DamageError: If it is not a parquet file, or damaged.
    """

    def __init__(self, name: str, file: Any):
        self.name = name
        try:
            self.file = pq.ParquetFile(file, pre_buffer=False)
            self.schema: pa.Schema = self.file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise_network(error)
            raise DamageError(
                f"{name} is damaged, or not a parquet file ({first_line(error)}): copy it again"
            ) from error
        self.features = self._features()

    def image_column(self, wanted: str) -> str:
        """Return the path of the column of image bytes, such as `image.bytes`.

        Args:
            wanted: The column that the user names; empty for the only one that there is.

        Raises:
            InputError: If there is none, or there are several.
        """
        all_of_them = {field.name: path for field in self.schema if (path := _bytes_of(field))}
        if wanted:
            if wanted.partition(".")[0] not in all_of_them:
                raise self._no_column(wanted, "image bytes", list(all_of_them))
            return all_of_them[wanted.partition(".")[0]]
        pictures = [
            name for name, kind in self.features.items() if kind.get("_type") == "Image" and name in all_of_them
        ]
        for candidates in (pictures, ["image"] if "image" in all_of_them else [], list(all_of_them)):
            if len(candidates) == 1:
                return all_of_them[candidates[0]]
        if not all_of_them:
            raise InputError(
                f"{self.name} has no column of image bytes (binary, or a struct with a field `bytes`); its columns are"
                f" {', '.join(map(str, self.schema.names))}"
            )
        raise InputError(
            f"{self.name} has several columns of image bytes, {', '.join(all_of_them)}: choose by --image COLUMN"
        )

    def label_column(self) -> str:
        """Return the column of labels that the file shows; raise InputError if there is none, or there are several."""
        named = [name for name, kind in self.features.items() if kind.get("_type") == "ClassLabel"]
        usual = [name for name in USUAL if name in self.schema.names]
        for candidates in (["label"] if "label" in self.schema.names else [], named, usual):
            if len(candidates) == 1:
                return candidates[0]
        if named or usual:
            raise InputError(
                f"{self.name} has several columns of labels, {', '.join(named or usual)}: choose by --label COLUMN"
            )
        raise InputError(
            f"{self.name} has no column of labels that is known by its name: choose by --label COLUMN, from"
            f" {', '.join(map(str, self.schema.names))}"
        )

    def check(self, rules: Rules) -> None:
        """Raise InputError if the file has not the columns that the rules name."""
        if (image := self.image_column(rules.image)) != rules.image:
            raise InputError(
                f"{self.name} has its images in {image} and other files in {rules.image}: index them one by one"
            )
        for rule in filter(None, (rules.label, rules.group)):
            if rule not in self.schema.names:
                others = [name for name in self.schema.names if name != image.partition(".")[0]]
                raise self._no_column(rule, "labels", others)

    def scan(self, rules: Rules, columns: Columns, report: Any) -> None:
        """Add every row with an image and a label to the columns.

        Args:
            rules: The columns of label, group and image.
            columns: What the rows are added to.
            report: Called with the number of bytes that were read.
        """
        image = rules.image
        self.check(rules)
        names = [image.partition(".")[0], *dict.fromkeys(filter(None, (rules.label, rules.group)))]
        row = 0
        try:
            for batch in self.file.iter_batches(BATCH, columns=[image, *names[1:]], use_threads=False):
                self._scan_batch(batch, row, rules, image, columns)
                row += len(batch)
                report(batch.nbytes)
        except (pa.ArrowException, OSError) as error:
            raise_network(error)
            raise DamageError(f"{self.name} is damaged after row {row} ({first_line(error)}): copy it again") from error
        if row != self.file.metadata.num_rows:
            raise DamageError(
                f"{self.name} is damaged: it has {row} of {self.file.metadata.num_rows} rows. Copy it again"
            )

    def _scan_batch(self, batch: pa.RecordBatch, row: int, rules: Rules, image: str, columns: Columns) -> None:
        labels = self._texts(batch, rules.label)
        groups = self._texts(batch, rules.group) if rules.group else [""] * len(labels)
        pictures = batch.column(batch.schema.names.index(image.partition(".")[0]))
        if "." in image:
            pictures = pictures.field(image.partition(".")[2])
        for i, data in enumerate(slices(pictures)):
            where = f"row {row + i}"
            if data is None:
                columns.pass_over("rows without image bytes", where)
            elif not labels[i]:
                columns.pass_over(f"rows without a label ({rules.label})", where)
            elif not is_image(data):
                columns.pass_over("rows whose image is not JPEG, PNG or WebP", where)
            else:
                number = columns.class_number(ClassKey(labels[i], "", groups[i]))
                columns.add(number, row + i, len(data), zlib.crc32(data))

    def _texts(self, batch: pa.RecordBatch, column: str) -> list[str]:
        """Return a column as texts, empty where there is no value; a number of a class becomes its name."""
        values = batch.column(batch.schema.names.index(column))
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            return [(value or "").strip() for value in values.to_pylist()]
        if not pa.types.is_integer(values.type):
            raise InputError(f"column {column} of {self.name} holds {values.type}: give a column of text or integers")
        names = self.features.get(column, {}).get("names")
        if not isinstance(names, list):
            return ["" if value is None else str(value) for value in values.to_pylist()]
        numbers = values.to_pylist()
        if any(value is not None and not -1 <= value < len(names) for value in numbers):
            raise InputError(f"column {column} of {self.name} holds a number that is none of its {len(names)} classes")
        return ["" if value is None or value < 0 else str(names[value]) for value in numbers]  # -1 is an unknown class

    def _features(self) -> dict[str, dict[str, Any]]:
        """Return what Hugging Face's metadata say of each column; an empty dictionary if there are none."""
        try:
            info = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return {}
        if not isinstance(info, dict):
            return {}
        return {name: kind for name, kind in info.items() if isinstance(kind, dict) and name in self.schema.names}

    def _no_column(self, name: str, what: str, legal: list[str]) -> InputError:
        return InputError(
            f"{self.name} has no column {name!r} of {what}: choose from {', '.join(map(str, legal)) or 'none'}"
        )


def slices(values: pa.Array) -> Iterator[memoryview | None]:
    """Yield the bytes of each value of a binary column without copying them, and None where there is no value."""
    kind = np.int64 if pa.types.is_large_binary(values.type) else np.int32
    _, ends, data = values.buffers()
    places = (
        np.frombuffer(ends, kind, len(values) + 1, values.offset * kind().itemsize).tolist() if len(values) else [0]
    )
    view = memoryview(data) if data is not None else memoryview(b"")
    valid = values.is_valid().to_pylist()
    for i, first in enumerate(places[:-1]):
        yield view[first : places[i + 1]] if valid[i] else None


def raise_network(error: BaseException) -> None:
    """Raise the error again if it is one of the disk or the network and not of the bytes, which have no number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _bytes_of(field: pa.Field) -> str:
    """Return the path of the bytes in a column, or an empty text if it holds none."""
    if _is_binary(field.type):
        return field.name
    if pa.types.is_struct(field.type):
        index = field.type.get_field_index("bytes")
        if index >= 0 and _is_binary(field.type.field(index).type):
            return f"{field.name}.bytes"
    return ""


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
