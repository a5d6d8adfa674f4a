"""Lists of image files with their classes: a folder of class folders, and a CSV of paths and labels."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from datamodules.reading.image_files import list_images
from datamodules.scanning.label_rules import USUAL, Rules
from datamodules.scanning.parquet_rows import first_line
from datamodules.scanning.scanned import ClassKey, check_name
from datamodules.scanning.units import Unit
from datamodules.sources.class_splits import list_classes, outside_classes
from lightning_meta.core import InputError

pc: Any = pyarrow.compute  # its functions are made at run time
CHUNK = 4096  # images that are scanned, and kept after a kill, together


class ImageList(NamedTuple):
    """Image files and their classes, without an object for each.

    name: the folder or list that they come from, for messages.
    root: the folder that their paths are below.
    paths: their paths below that folder, as bytes of the file system, in order.
    classes: the distinct classes.
    number: for each image its number in `classes`, uint32.
    notes: lines about what was passed over.
    """

    name: str
    root: Path
    paths: pa.LargeBinaryArray
    classes: list[ClassKey]
    number: NDArray[np.uint32]
    notes: tuple[str, ...] = ()

    def units(self, rules: Rules) -> Iterator[Unit]:
        """Yield the list in units of up to CHUNK images, each with the classes that it needs."""
        for start in range(0, len(self.paths), CHUNK):
            used, number = np.unique(self.number[start : start + CHUNK], return_inverse=True)
            paths = self.paths[start : start + CHUNK].to_pylist()
            yield Unit(
                "images",
                str(self.root),
                remote=False,
                rules=rules,
                amount=len(paths),
                paths=b"".join(path + b"\0" for path in paths),
                number=number.astype("<u4").tobytes(),
                classes=tuple(self.classes[i] for i in used.tolist()),
            )


def list_folder(root: Path) -> ImageList:
    """Return the images of a folder of class folders, or of folders train, val and test of class folders."""
    splits = list_classes(root, least=1)
    classes, paths, number = list[ClassKey](), list[pa.Array](), list[NDArray[np.uint32]]()
    for split, folders in splits.items():
        for folder in folders:
            check_name(folder.name, str(root))
            files = list_images(folder)
            paths.append(pa.array([os.fsencode(file.relative_to(root)) for file in files], pa.large_binary()))
            number.append(np.full(len(files), len(classes), np.uint32))
            classes.append(ClassKey(folder.name, split))
    outside = outside_classes(root, splits)
    few = ", ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")
    notes = (f"in no class folder of {root}, and passed over: {few}",) if outside else ()
    return ImageList(str(root), root, pa.concat_arrays(paths), classes, np.concatenate(number), notes)


def list_csv(path: Path, rules: Rules) -> ImageList:
    """Return the images of a CSV list with a column `path`, relative to the folder of the list, and a column of labels.

    Args:
        path: The list, whose first line names its columns.
        rules: The column of labels; by default `label`. The columns `split` and `group` are used if they are there.

    Raises:
        InputError: If a column is missing, a path leads out of the folder of the list, or a label is missing.
    """
    names = csv_columns(path)
    label = rules.label or next((name for name in USUAL if name in names), "label")
    group = rules.group or ("group" if "group" in names else "")
    for name in ("path", label, *filter(None, [group])):
        if name not in names:
            raise InputError(
                f"{path} has no column {name!r}; its first line names {', '.join(names)}: name the columns `path` and `label`,"
                " or choose one by --label COLUMN"
            )
    wanted = ["path", label, *filter(None, [group]), *(["split"] if "split" in names else [])]
    table = read_csv(path, list(dict.fromkeys(wanted)))
    paths = relative_paths(path, table["path"].combine_chunks())
    texts = [
        pc.utf8_trim_whitespace(table[name]) if name in wanted and name else None for name in (label, "split", group)
    ]
    keys = pa.table({str(i): column for i, column in enumerate(texts) if column is not None})
    if (empty := pc.index(pc.equal(keys["0"], ""), True).as_py()) >= 0:
        raise InputError(f"{path} has no {label} in line {empty + 2}: add it, or leave the line out")
    classes, number = coded(keys)
    for key in classes:
        for name in filter(None, key):
            check_name(name, str(path))
    return ImageList(str(path), path.parent, paths, classes, number)


def csv_columns(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [name.strip() for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot read the list {path} ({getattr(error, 'strerror', None) or error}): give a CSV"
        ) from error


def read_csv(path: Path, columns: list[str]) -> pa.Table:
    """Return some columns of a CSV file as texts; raise InputError if it cannot be read or has no rows."""
    names = csv_columns(path)
    if len(set(names)) < len(names):
        raise InputError(
            f"{path} has two columns of one name in its first line, {', '.join(names)}: name them differently"
        )
    reading = pacsv.ReadOptions(column_names=names, skip_rows=1)
    converting = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.large_string()), include_columns=columns, strings_can_be_null=False
    )
    try:
        table = pacsv.read_csv(path, reading, pacsv.ParseOptions(newlines_in_values=True), converting)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot read the list {path} ({first_line(error)}): mend that line") from error
    if not table.num_rows:
        raise InputError(f"{path} has no lines after its first, which names the columns: add the images")
    return table


def relative_paths(path: Path, texts: pa.Array) -> pa.LargeBinaryArray:
    """Return paths relative to the folder of a list; raise InputError for one that leads out of it."""
    home = f"{path.parent.absolute()}/"
    texts = pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), "^(\\./+)+", "")
    texts = pc.if_else(pc.starts_with(texts, home), pc.utf8_slice_codeunits(texts, len(home)), texts)
    wrong = pc.or_(pc.match_substring_regex(texts, r"(^|/)\.{0,2}(/|$)"), pc.match_substring_regex(texts, "://"))
    if (row := pc.index(wrong, True).as_py()) >= 0:
        raise InputError(
            f"{path} names the image {texts[row].as_py()!r}, which is not a file below {path.parent}: put the list into the"
            " folder that its paths are relative to"
        )
    return texts.cast(pa.large_binary())


def coded(keys: pa.Table) -> tuple[list[ClassKey], NDArray[np.uint32]]:
    """Return the distinct rows of a table of columns "0" (label), "1" (split) and "2" (group), and the number of each row."""
    codes, kinds = np.zeros(keys.num_rows, np.int64), []
    for name in keys.column_names:
        column = keys[name].combine_chunks().dictionary_encode()
        kinds.append((name, column.dictionary.to_pylist()))
        codes = codes * len(column.dictionary) + column.indices.to_numpy(zero_copy_only=False)
    distinct, number = np.unique(codes, return_inverse=True)
    parts = {"0": np.full(len(distinct), ""), "1": [""] * len(distinct), "2": [""] * len(distinct)}
    for name, values in reversed(kinds):
        parts[name] = [values[i] for i in (distinct % len(values)).tolist()]
        distinct = distinct // len(values)
    return [ClassKey(*key) for key in zip(parts["0"], parts["1"], parts["2"], strict=True)], number.astype(np.uint32)
