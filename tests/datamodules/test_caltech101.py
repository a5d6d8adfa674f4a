"""Caltech-101: read from archives of its layouts, made up or (below LIGHTNING_META_DATA) real; split, kept and refused."""

import csv
import hashlib
import io
import os
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules import Preprocess, ShardSet, write_caltech101
from datamodules.sources import caltech101
from datamodules.sources.class_splits import read_split_file
from datamodules.sources.picture_archive import open_archive
from lightning_meta.core import InputError
from support.served import served_folder

NAMES = [f"class{number}" for number in range(10)]
ASIDE = ["BACKGROUND_Google", "Faces_easy"]


def photograph(name: str, number: int) -> bytes:
    shade = 40 + 20 * (NAMES + ASIDE).index(name)
    buffer = io.BytesIO()
    Image.new("RGB", (60 + number, 50), (shade, 100 + number, 0)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def members() -> dict[str, bytes]:
    pictures = {f"{name}/image_{n:04d}.jpg": photograph(name, n) for name in NAMES + ASIDE for n in range(3)}
    return {
        **pictures,
        "class0/._image_0000.jpg": b"of another system",
        "__MACOSX/class0/x.jpg": b"x",
        "README": b"read",
    }


def as_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def as_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"101_ObjectCategories/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "caltech101"
    folder.mkdir(parents=True)
    as_zip(folder / "images.zip", members())
    return folder


def names_by_split(root: Path) -> dict[str, set[str]]:
    index = ShardSet(str(root)).index
    return {split: {index.records[number].name for number in numbers} for split, numbers in index.splits.items()}


def test_every_layout_gives_the_same_classes_and_pictures(data: Path, tmp_path: Path) -> None:
    as_zip(tmp_path / "caltech-101.zip", {"caltech-101/101_ObjectCategories.tar.gz": as_tar(members()), "show.m": b"%"})
    (tmp_path / "101_ObjectCategories.tar.gz").write_bytes(as_tar(members()))
    for path in (data / "images.zip", tmp_path / "caltech-101.zip", tmp_path / "101_ObjectCategories.tar.gz"):
        with open_archive(path) as pictures:
            assert sorted(pictures.classes) == sorted(NAMES + ASIDE)
            for name, files in pictures.classes.items():
                assert [pictures.read(file) for file in files] == [photograph(name, n) for n in range(3)]


def test_the_set_has_the_classes_in_three_splits(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_META_DATA", str(data.parent))
    written = write_caltech101(tmp_path / "out", size=32)
    splits = names_by_split(tmp_path / "out")
    assert {split: len(names) for split, names in splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert set.union(*splits.values()) == set(NAMES)
    shards = ShardSet(str(tmp_path / "out"))
    number = [record.name for record in shards.index.records].index("class4")
    expected = np.stack([Preprocess(32, 3)(photograph("class4", n)) for n in range(3)])
    assert np.array_equal(shards.images(number, np.arange(3)), expected)
    report = written.summary()
    assert "BACKGROUND_Google was left out: it is background, not a class" in report
    assert "Faces_easy was left out" in report
    assert "divided at random, seed 0" in report
    assert "CC BY 4.0: name its authors" in report
    write_caltech101(tmp_path / "again", size=32)
    assert names_by_split(tmp_path / "again") == splits
    write_caltech101(tmp_path / "other", size=32, seed=1)
    assert names_by_split(tmp_path / "other") != splits


def test_encoded_files_are_kept_unchanged(data: Path, tmp_path: Path) -> None:
    write_caltech101(tmp_path / "out", str(data), size=32, encoded=True)
    kept = b"".join(path.read_bytes() for path in sorted((tmp_path / "out").glob("*.tar")))
    assert all(photograph(name, n) in kept for name in NAMES for n in range(3))
    shards = ShardSet(str(tmp_path / "out"))
    number = [record.name for record in shards.index.records].index("class2")
    assert np.array_equal(shards.images(number, np.array([1]))[0], Preprocess(32, 3)(photograph("class2", 1)))


def split_file(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("class,split\n" + "".join(f"{name},{split}\n" for name, split in rows))
    return path


DIVIDED = list(zip(NAMES, ["train"] * 4 + ["val"] * 3 + ["test"] * 3, strict=True))


def test_a_list_divides_the_classes(data: Path, tmp_path: Path) -> None:
    listed = split_file(tmp_path / "split.csv", [*DIVIDED, ("Faces", "train")])
    written = write_caltech101(tmp_path / "out", str(data), size=32, split=listed)
    assert names_by_split(tmp_path / "out") == {
        split: {name for name, own in DIVIDED if own == split} for split in ("train", "val", "test")
    }
    assert f"divided by {listed}" in written.summary()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (DIVIDED[1:], r"split\.csv has no split for 1 classes, such as class0: add them"),
        (
            [*DIVIDED, ("x", "trian")],
            r"split\.csv, line 12: give the columns class and split, the split one of train, val,",
        ),
        ([*DIVIDED, ("class0", "test")], r"split\.csv, line 12: class class0 is in train and test: give one of them"),
        (
            [(name, "test") for name in NAMES],
            r"split\.csv gives train fewer than two classes: give every split two or more",
        ),
    ],
)
def test_a_list_that_does_not_divide_the_classes_is_refused(
    tmp_path: Path, rows: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_split_file(split_file(tmp_path / "split.csv", rows), NAMES)
    with pytest.raises(
        InputError, match=r"cannot read \S+/none\.csv \(.*\): give a CSV file with the columns class and split"
    ):
        read_split_file(tmp_path / "none.csv", NAMES)


def remove(data: Path) -> None:
    (data / "images.zip").unlink()


def truncate(data: Path) -> None:
    path = data / "images.zip"
    path.write_bytes(path.read_bytes()[:-200])


def spoil_a_picture(data: Path) -> None:
    as_zip(data / "images.zip", {**members(), "class3/image_0001.jpg": b"no photograph"})


def spoil_the_tar(data: Path) -> None:
    (data / "101_ObjectCategories.tar.gz").write_bytes(as_tar(members())[:-400])


def keep_few(data: Path) -> None:
    as_zip(data / "images.zip", {name: data for name, data in members().items() if name.startswith("class1/")})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            remove,
            r"Caltech-101 is not in \S+/caltech101: none of caltech-101\.zip, .*images\.zip is there\. Set LIGHTNING_META",
        ),
        (truncate, r"images\.zip is damaged \(.*\): remove it and fetch it again"),
        (spoil_a_picture, r"cannot decode the image class3/image_0001\.jpg in \S+images\.zip"),
        (spoil_the_tar, r"101_ObjectCategories\.tar\.gz is damaged \(.*\): remove it and fetch it again"),
        (keep_few, r"images\.zip has 1 classes of pictures: give the whole archive"),
    ],
)
def test_what_is_missing_or_damaged_is_said_in_one_line(data: Path, tmp_path: Path, damage: Any, message: str) -> None:
    damage(data)
    with pytest.raises(InputError, match=message) as raised:
        write_caltech101(tmp_path / "out", str(data), size=32)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_download_is_verified_and_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "www"
    folder.mkdir()
    as_zip(folder / caltech101.WHOLE, members())
    with served_folder(folder) as url:
        monkeypatch.setattr(caltech101, "OFFICIAL", url)
        with pytest.raises(
            InputError, match=r"caltech-101\.zip\?download=1 came with md5 \w+, expected 3138e192\w+: not kept"
        ):
            write_caltech101(tmp_path / "out", str(tmp_path / "new"), download=True)
        assert not (tmp_path / "new").exists()
        right = hashlib.md5((folder / caltech101.WHOLE).read_bytes()).hexdigest()
        monkeypatch.setattr(caltech101, "CHECKSUM", f"md5:{right}")
        fetched = caltech101.find_archive(str(tmp_path / "new"), download=True)
        assert fetched.read_bytes() == (folder / caltech101.WHOLE).read_bytes()
        (folder / caltech101.WHOLE).unlink()
        assert caltech101.find_archive(str(tmp_path / "new"), download=True) == fetched


@pytest.mark.slow
def test_the_real_set_is_written_whole(tmp_path: Path) -> None:
    root = Path(os.environ.get("LIGHTNING_META_DATA", "data")) / "caltech101"
    if not (root / "images.zip").is_file():
        pytest.skip("LIGHTNING_META_DATA names no folder with caltech101/images.zip")
    write_caltech101(tmp_path / "out", str(root), split=root / "split.csv", encoded=True)
    shards = ShardSet(str(tmp_path / "out"))
    counts = [record.count for record in shards.index.records]
    assert (len(counts), sum(counts), min(counts), max(counts)) == (99, 7807, 31, 800)
    with (root / "split.csv").open() as file:
        listed = Counter(row["split"] for row in csv.DictReader(file))
    assert {split: len(numbers) for split, numbers in shards.index.splits.items()} == listed
    assert listed == {"train": 63, "val": 16, "test": 20}
    assert shards.verify() == []
