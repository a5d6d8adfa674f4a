"""Bad parquet files, folders and lists of `lightning-meta shards index`: one clear line each, and nothing half-written."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.bad_sources import Case, Make, text
from support.image_sources import picture, write_folders, write_parquet

NAMES = ["a", "b", "c", "d", "e", "f"]
IMAGES = pa.array([picture(0)] * 2)


def parquet(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path / "x.parquet")


def broken_parquet(path: Path) -> None:
    data = write_parquet(path / "x.parquet", range(12), NAMES).read_bytes()
    (path / "x.parquet").write_bytes(data[:-20])


def foreign_class(path: Path) -> None:
    table = pq.read_table(write_parquet(path / "x.parquet", range(12), NAMES))
    numbers = pa.array([6] * 12, pa.int64())
    pq.write_table(table.set_column(1, table.schema.field("label"), numbers), path / "x.parquet")


def folders(**classes: range) -> Make:
    return lambda path: write_folders(path / "own", classes)


CASES = {
    "a remote list": Case(
        lambda _: None, "http://127.0.0.1:9/x.csv", r"is a list at a URL: copy the list and its images here"
    ),
    "no parquet": Case(text("x.parquet", "text" * 9), "x.parquet", r"x\.parquet is damaged, or not a parquet file"),
    "cut parquet": Case(broken_parquet, "x.parquet", r"x\.parquet is damaged, or not a parquet file"),
    "no image column": Case(
        lambda p: parquet(p, label=[1, 2]), "x.parquet", r"has no column of image bytes .*; its columns are label"
    ),
    "two image columns": Case(
        lambda p: parquet(p, a=IMAGES, b=IMAGES, label=[1, 2]),
        "x.parquet",
        r"several columns of image bytes, a, b: choose",
    ),
    "no label column": Case(
        lambda p: parquet(p, image=IMAGES, text=["a", "b"]),
        "x.parquet",
        r"no column of labels .*: choose by --label COLUMN, from image, text",
    ),
    "no such column": Case(
        lambda p: parquet(p, image=IMAGES, label=[1, 2]),
        "x.parquet",
        r"no column 'kind' of labels: choose from label",
        label="kind",
    ),
    "fractions": Case(
        lambda p: parquet(p, image=IMAGES, label=[0.5, 1]),
        "x.parquet",
        r"column label of .* holds double: give a column of text",
    ),
    "foreign class": Case(
        foreign_class, "x.parquet", r"column label of .* holds a number that is none of its 6 classes"
    ),
    "no path": Case(
        text("x.csv", "file,label\na,b\n"), "x.csv", r"x\.csv has no column 'path'; its first line names file, label"
    ),
    "no lines": Case(text("x.csv", "path,label\n"), "x.csv", r"x\.csv has no lines after its first"),
    "an empty list": Case(text("x.csv", ""), "x.csv", r"x\.csv has no column 'path'"),
    "a torn line": Case(
        text("x.csv", "path,label\na,b\nc\n"),
        "x.csv",
        r"cannot read the list .*x\.csv \(CSV parse error.*mend that line",
    ),
    "no UTF-8": Case(text("x.csv", b"path,label\na,\xff\n"), "x.csv", r"cannot read the list .*x\.csv"),
    "above the list": Case(
        text("x.csv", "path,label\n../a.png,b\n"), "x.csv", r"names the image '\.\./a\.png', which is not a file below"
    ),
    "elsewhere": Case(
        text("x.csv", "path,label\n/a.png,b\n"), "x.csv", r"names the image '/a\.png', which is not a file below"
    ),
    "no label": Case(
        text("x.csv", "path,label\na.png,b\na.png, \n"), "x.csv", r"x\.csv has no label in line 3: add it"
    ),
    "no image": Case(
        text("x.csv", "path,label\na.png,b\n"),
        "x.csv",
        r"cannot read the image .*/a\.png \(No such file or directory\)",
    ),
    "a rule": Case(
        folders(a=range(2)), "own", r"--label cls does not fit .*own: in a folder of class folders", label="cls"
    ),
    "an empty folder": Case(lambda p: (p / "own").mkdir(), "own", r"own has 0 class folders"),
    "few classes": Case(
        folders(a=range(2), b=range(3, 5)), "own", r"there are 2 classes; a split needs two or more, and all three six"
    ),
    "letter case": Case(
        folders(cat=range(2), Cat=range(2, 4)), "own", r"classes differ only in upper and lower case .*\(Cat, cat\)"
    ),
    "two splits": Case(
        text("split.csv", "class,split\na,train\na,test\n"),
        ".",
        r"gives class a two values of split, 'train' and 'test'",
        split="split.csv",
    ),
    "no split": Case(
        text("split.csv", "name,split\na,train\n"),
        ".",
        r"has the columns name, split: name two of them `class` and `split`",
        split="split.csv",
    ),
    "one class": Case(
        lambda path: [
            folders(**dict.fromkeys("ab", range(2)))(path),
            text("split.csv", "class,split\na,train\nb,val\n")(path),
        ],
        "own",
        r"split train has 1 class; a split needs two or more",
        split="split.csv",
    ),
    "no split list": Case(
        lambda _: None, ".", r"cannot read the list .*split\.csv \(No such file or directory\)", split="split.csv"
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_table_or_folder_is_one_line_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    CASES[case].check(tmp_path)
