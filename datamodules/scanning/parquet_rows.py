"""Images and labels in a parquet file, as Hugging Face's data sets have them."""

import json
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from datamodules.reading.damage import DamageError
from datamodules.reading.parquet_pages import Chunk, chunk_values, column_chunks
from datamodules.scanning.image_kinds import is_image
from datamodules.scanning.label_rules import USUAL, Rules
from datamodules.scanning.scanned import ClassKey, Columns
from lightning_meta.core import InputError

# What damaged bytes make pyarrow and the parser of pages raise.
DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError)


class ParquetTable:
    """A parquet file whose columns of images and labels are known.

    Args:
        name: Path or URL, for messages.
        file: The file, open and buffered.

    Raises:
        DamageError: If it is not a parquet file, or damaged.
    """

    def __init__(self, name: str, file: Any):
        self.name, self._source = name, file
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
        self.check(rules)
        row = 0
        try:
            for group, chunk in enumerate(column_chunks(self.file.metadata, rules.image)):
                row += self._scan_group(group, chunk, row, rules, columns, report)
        except InputError:
            raise
        except DAMAGE as error:
            raise_network(error)
            raise DamageError(
                f"{self.name} cannot be read after row {row} ({first_line(error)}): copy or write it again"
            ) from error

    def _scan_group(self, group: int, chunk: Chunk, row: int, rules: Rules, columns: Columns, report: Any) -> int:
        """Add the rows of a row group, of which the first has number `row`, and return their number."""
        names = list(dict.fromkeys(filter(None, (rules.label, rules.group))))
        table = self.file.read_row_group(group, columns=names, use_threads=False)
        labels, label_names = self._codes(table, rules.label)
        groups, group_names = self._codes(table, rules.group) if rules.group else (np.zeros_like(labels), [""])
        numbers: dict[tuple[int, int], int] = {}
        i = -1
        for i, value in enumerate(chunk_values(self._read_at, chunk)):
            label, group_code = int(labels[i]), int(groups[i])
            if value is None:
                columns.pass_over("rows without image bytes", f"row {row + i}")
            elif label < 0:
                columns.pass_over(f"rows without a label ({rules.label})", f"row {row + i}")
            elif not is_image(value[1]):
                columns.pass_over("rows whose image is not JPEG, PNG or WebP", f"row {row + i}")
            else:
                if (label, group_code) not in numbers:
                    key = ClassKey(label_names[label], "", group_names[group_code] if group_code >= 0 else "")
                    numbers[label, group_code] = columns.class_number(key)
                columns.add(numbers[label, group_code], value[0], len(value[1]), zlib.crc32(value[1]))
            if value is not None:
                report(len(value[1]))
        if i + 1 != len(labels):
            raise ValueError(f"row group {group} has {i + 1} images and {len(labels)} labels")
        return len(labels)

    def _codes(self, table: pa.Table, column: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return a column as numbers of texts, -1 where there is no value, and the texts, such as the names of classes."""
        values = table.column(column).combine_chunks()
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        codes = values.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        texts = self._texts(values.dictionary, column)
        missing = np.array([not text for text in texts], bool)
        if missing.any():
            codes = np.where((codes >= 0) & missing[codes], -1, codes)
        return codes, texts

    def _texts(self, values: pa.Array, column: str) -> list[str]:
        """Return values as texts, empty for one that is no label."""
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            return [(value or "").strip() for value in values.to_pylist()]
        if not pa.types.is_integer(values.type):
            raise InputError(f"column {column} of {self.name} holds {values.type}: give a column of text or integers")
        names, numbers = self.features.get(column, {}).get("names"), values.to_pylist()
        if not isinstance(names, list):
            return ["" if value is None else str(value) for value in numbers]
        if any(value is not None and not -1 <= value < len(names) for value in numbers):
            raise InputError(f"column {column} of {self.name} holds a number that is none of its {len(names)} classes")
        return ["" if value is None or value < 0 else str(names[value]) for value in numbers]  # -1 is an unknown class

    def _read_at(self, offset: int, size: int) -> bytes:
        self._source.seek(offset)
        return self._source.read(size)

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
