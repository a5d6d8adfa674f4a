"""Files that systems and programs leave in folders are not images, class names tell classes apart, and links lead somewhere."""

import io
import zipfile
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from datamodules import write_folder
from datamodules.index.class_names import fingerprints, met, trained_on
from datamodules.index.opening import read_index
from datamodules.reading.image_files import list_images
from datamodules.sources import omniglot
from lightning_meta.core import InputError
from lightning_meta.estimators.inputs import labelled

NAMES = [f"class {i}" for i in range(6)]


def save(path: Path, seed: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)
    return path.read_bytes()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six classes of three images."""
    for number, name in enumerate(NAMES):
        for i in range(3):
            save(tmp_path / "images" / name / f"{i}.png", 10 * number + i)
    return tmp_path / "images"


def write(images: Path, **options: Any) -> dict[str, int]:
    """The classes written, and how many images each has."""
    out = images.parent / options.pop("out", "set")
    print(write_folder(images, out, size=8, **options).summary())
    return {record.name: record.count for record in read_index(str(out)).records}


def clutter(folder: Path) -> None:
    """Copies of an image, and files that do not decode, as systems leave them below a folder."""
    png = save(folder.parent / "a.png", 999)
    (folder.parent / "a.png").unlink()
    for name in (
        ".ipynb_checkpoints/0-checkpoint.png",
        "__MACOSX/0.png",
        "@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
        "$RECYCLE.BIN/$R1.png",
        "deep/.cache/0.png",
        "deep/.hidden.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png)
    for name in ("._0.png", "deep/._1.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"\0\5\x16\7 no image")


def test_hidden_files_are_no_images_and_hidden_folders_no_classes(images: Path) -> None:
    clutter(images)
    (images / "deep").rename(images / ".deep")
    for name in NAMES:
        clutter(images / name)
    assert write(images) == dict.fromkeys(NAMES, 3)
    assert len(list_images(images / NAMES[0])) == 3
    paths, names = labelled(images)
    assert (sorted(set(names)), len(paths)) == (NAMES, 18)


def test_clutter_in_a_zip_of_omniglot_is_no_drawing() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("images_background/Greek/character01/1.png", "__MACOSX/images_background/Greek/._1.png"):
            archive.writestr(name, b"")
        archive.writestr("images_background/Greek/character01/._1.png", b"")
    with zipfile.ZipFile(buffer) as archive:
        assert omniglot._drawings(archive) == {"Greek/character01": ["images_background/Greek/character01/1.png"]}


def test_what_is_in_no_class_is_said(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(images / "stray.png", 1)
    (images / "labels.csv").write_text("0,class 0")
    (images / ".DS_Store").touch()
    write(images)
    assert "in no class folder, and passed over: labels.csv, stray.png\n" in capsys.readouterr().out


def test_what_lies_beside_ready_made_splits_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = ready(tmp_path / "images")
    save(splits / "unlabelled" / "x.png", 1)
    (splits / "val" / "notes.txt").touch()
    write(splits)
    assert "in no class folder, and passed over: unlabelled, val/notes.txt\n" in capsys.readouterr().out


def test_links_are_followed_once_and_dead_ones_said(images: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "far" / "9.png", 9)
    (images / NAMES[0] / "more").symlink_to(tmp_path / "elsewhere")
    (images / NAMES[0] / "loop").symlink_to(images)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    (images / NAMES[1] / "same").symlink_to(images / NAMES[1])
    found = list_images(images / NAMES[1])
    assert [path.name for path in found] == ["0.png", "1.png", "2.png"]
    (images / NAMES[0] / "loop").unlink()
    assert [path.name for path in list_images(images / NAMES[0])] == ["0.png", "1.png", "2.png", "9.png"]
    (images / NAMES[2] / "3.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"cannot read the image \S+ 2/3\.png \(it is a link that leads nowhere\)"):
        write(images)
    assert write(images, skip=True)[NAMES[2]] == 3
    (images / "class 7").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"class 7 is a link that leads nowhere: mend or remove it"):
        write(images, out="other")


def ready(images: Path, **others: list[str]) -> Path:
    """Ready-made splits of two classes each, whose images are not alike."""
    splits = {"train": ["a", "b"], "val": ["c", "d"], "test": ["e", "f"]} | others
    for split, names in splits.items():
        for name in names:
            for i in range(2):
                save(images / split / name / f"{i}.png", crc32(f"{split} {name} {i}".encode()))
    return images


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (["a", "b"], r"2 classes are in more than one of train, val and test \(\S+/train/a, \S+/test/a, \.\.\.\)"),
        (["a", "x"], r"1 classes are in more than one of train, val and test \(\S+/train/a, \S+/test/a\)"),
        (
            ["A", "x"],
            r"class folders differ only in upper and lower case or in Unicode form \(\S+/train/a, \S+/test/A\)",
        ),
        (["e\u0301", "\u00e9"], r"class folders differ only in upper and lower case or in Unicode form"),
    ],
)
def test_classes_of_one_name_are_refused_unless_they_may_be_shared(
    tmp_path: Path, test: list[str], message: str
) -> None:
    images = ready(tmp_path / "images", test=test)
    with pytest.raises(InputError, match=rf"{message}.*would use classes of the training: .*--shared_classes true"):
        write(images)
    assert list(tmp_path.iterdir()) == [images]
    write(images, shared_classes=True)
    index = read_index(str(tmp_path / "set"))
    expected = sum(name.lower() in ("a", "b") for name in test)
    assert met(index, "test", trained_on(index, "train")) == expected
    assert met(index, "val", trained_on(index, "train")) == 0
    assert met(index, "train", trained_on(index, "train")) == 2


@pytest.mark.parametrize("encoded", [False, True])
def test_a_class_under_another_name_is_found_by_its_images(tmp_path: Path, encoded: bool) -> None:
    images = ready(tmp_path / "images")
    (images / "test" / "e" / "0.png").write_bytes((images / "train" / "b" / "1.png").read_bytes())
    with pytest.raises(InputError, match=r"1 of the 2 images of \S+/test/e are in \S+/train/b too, byte for byte"):
        write(images, encoded=encoded)
    assert sorted(tmp_path.iterdir()) == [images, tmp_path / "set.chunks.partial"]
    write(images, encoded=encoded, shared_classes=True)
    assert sorted(tmp_path.iterdir()) == [images, tmp_path / "set"]
    index = read_index(str(tmp_path / "set"))
    assert index.same.tolist() == [[1, 4]]
    assert [met(index, split, trained_on(index, "train")) for split in ("val", "test")] == [0, 1]


def test_images_that_are_there_twice_are_counted(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(images, out="first")
    assert "byte-for-byte" not in capsys.readouterr().out
    for i in range(9):
        for name in NAMES:
            save(images / name / f"more {i}.png", crc32(f"{name} {i}".encode()))
    (images / NAMES[0] / "copy.png").write_bytes((images / NAMES[0] / "0.png").read_bytes())
    (images / NAMES[5] / "copy.png").write_bytes((images / NAMES[0] / "1.png").read_bytes())
    write(images)
    said = capsys.readouterr().out.replace("\n", " ")
    assert "2 images are byte-for-byte copies: 1 in the same class, 1 in " in said
    assert f"(the first: {images / NAMES[0] / 'copy.png'}, in its class)" in said or "class 5/copy.png" in said


def test_names_are_remembered_without_case_and_form() -> None:
    one, other = fingerprints(["Caf\u00e9", "b"]), fingerprints(["cafe\u0301", "c", "B"])
    assert [number in one.tolist() for number in other.tolist()] == [True, False, True]
