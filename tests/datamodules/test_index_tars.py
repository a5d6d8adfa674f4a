"""`lightning-meta shards index` of tars: ordinary WebDatasets and tars of class folders, with known answers."""

import io
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.scanning.index_sources import index_sources
from datamodules.scanning.label_rules import Rules
from datamodules.scanning.tape import Tape, opened
from datamodules.scanning.tar_headers import tar_members
from datamodules.scanning.tar_samples import scan_tar
from lightning_meta.core import InputError
from support.image_sources import content, indexed, picture, pictures_of, samples, write_folders, write_tar


def index(sources: Path | list[str], out: Path, **options: Any) -> tuple[str, ...]:
    """Index, and return the notes."""
    return index_sources([str(sources)] if isinstance(sources, Path) else sources, out, size=8, **options).notes


@pytest.mark.parametrize(
    ("label", "name"), [(None, "{}"), ("cls", "{}"), ("json:label", "name {}"), ("json:nested.group", "group {}")]
)
def test_the_bytes_at_the_recorded_place_are_the_image(label: str | None, name: str, tmp_path: Path) -> None:
    for tar, first in (("a", 0), ("b", 24)):
        write_tar(tmp_path / f"{tar}.tar", samples(range(first, first + 24)))
    if label == "json:nested.group":
        with pytest.raises(InputError, match=r"there are 2 classes; a split needs two or more, and all three six"):
            index(tmp_path, tmp_path / "out", label=label)
        return
    assert index(tmp_path, tmp_path / "out", label=label) == ()
    assert indexed(tmp_path / "out") == pictures_of(range(48), name=name)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_any_length_and_alphabet(form: int, tmp_path: Path) -> None:
    """Folders whose names need ustar's prefix, GNU's long names or pax records."""
    long = "/".join("folder-of-medium-length" for _ in range(5 if form == tarfile.USTAR_FORMAT else 12))
    classes = [f"./{long}/klasse {i}{'' if form == tarfile.USTAR_FORMAT else chr(0xE4)}" for i in range(6)]
    members = [
        (f"{folder}/{i}.JPEG", picture(10 * n + i, "JPEG")) for n, folder in enumerate(classes) for i in range(3)
    ]
    write_tar(tmp_path / "x.tar", members, form)
    index(tmp_path / "x.tar", tmp_path / "out")
    known = {name.rpartition("/")[2]: {picture(10 * n + i, "JPEG") for i in range(3)} for n, name in enumerate(classes)}
    assert indexed(tmp_path / "out") == known


def folder_tar(path: Path, prefix: str = "") -> dict[str, set[bytes]]:
    classes = {f"n{n}": {i: picture(10 * n + i) for i in range(3)} for n in range(6)}
    write_tar(path, [(f"{prefix}{name}/{i}.png", data) for name, all_ in classes.items() for i, data in all_.items()])
    return {name: set(all_.values()) for name, all_ in classes.items()}


def test_a_tar_of_class_folders_and_a_tar_of_tars_of_classes(tmp_path: Path) -> None:
    """As ImageNet's training images are published: a tar that holds a tar per class."""
    known = folder_tar(tmp_path / "flat.tar", "some/where/")
    inner = []
    for name, images in known.items():
        write_tar(tmp_path / "inner", [(f"{name}_{i}.JPEG", data) for i, data in enumerate(sorted(images))])
        inner.append((f"{name}.tar", (tmp_path / "inner").read_bytes()))
    write_tar(tmp_path / "nested.tar", inner)
    for name in ("flat", "nested"):
        index(tmp_path / f"{name}.tar", tmp_path / name)
        assert indexed(tmp_path / name) == known


def test_folders_train_val_and_test_in_tars_divide_the_classes(tmp_path: Path) -> None:
    members = [
        (f"{s}/{s}{n}/{i}.png", picture(n * 10 + i + ord(s[1]) * 100))
        for s in ("train", "val", "test")
        for n in (0, 1)
        for i in (0, 1)
    ]
    write_tar(tmp_path / "x.tar", members)
    result = index_sources([str(tmp_path / "x.tar")], tmp_path / "out", size=8)
    splits = {
        split: [result.index.records[int(i)].name for i in result.index.split(split)] for split in result.index.splits
    }
    assert splits == {"train": ["train0", "train1"], "val": ["val0", "val1"], "test": ["test0", "test1"]}


def test_folders_that_end_in_one_name_are_not_mixed_unasked(tmp_path: Path) -> None:
    members = [
        (f"{a}/c{n}/{i}.png", picture(ord(a) * 100 + n * 10 + i)) for a in "pq" for n in range(3) for i in (0, 1)
    ]
    write_tar(tmp_path / "x.tar", members)
    with pytest.raises(
        InputError, match=r"folders p/c0 and q/c0 in the tars end in the same name: give --label folder if"
    ):
        index(tmp_path / "x.tar", tmp_path / "out")
    index(tmp_path / "x.tar", tmp_path / "out", label="path")
    assert {name: len(images) for name, images in indexed(tmp_path / "out").items()} == dict.fromkeys(
        ("p/c0", "p/c1", "p/c2", "q/c0", "q/c1", "q/c2"), 2
    )


def test_what_cannot_be_read_in_place_is_passed_over_and_counted(tmp_path: Path) -> None:
    def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        return info, b""

    members = [
        *samples(range(12)),
        special("hard.jpg", tarfile.LNKTYPE, "0001.jpg"),
        special("soft.jpg", tarfile.SYMTYPE, "0001.jpg"),
        special("null.jpg", tarfile.CHRTYPE),
        special("pipe.jpg", tarfile.FIFOTYPE),
        special("folder.jpg", tarfile.DIRTYPE),
        ("/etc/passwd.jpg", picture(1)),
        ("../up.jpg", picture(1)),
        ("._0001.jpg", b"resource fork"),
        ("text.jpg", b"no image"),
        ("README", b"no ending"),
        ("alone.jpg", picture(99)),
    ]
    notes = "\n".join(index(write_tar(tmp_path / "x.tar", members), tmp_path / "out"))
    for line in (
        "1 hard links (the first: hard.jpg in",
        "1 symbolic links (the first: soft.jpg in",
        "1 devices (the first: null.jpg in",
        "1 pipes (the first: pipe.jpg in",
        "1 members with an absolute path (the first: /etc/passwd.jpg in",
        "1 members with a path that holds `..` (the first: ../up.jpg in",
        "1 hidden members (the first: ._0001.jpg in",
        "1 members that are not JPEG, PNG or WebP, whatever their ending (the first: text.jpg in",
        "1 members without an ending (the first: README in",
        "1 images without a label (cls) (the first: alone.jpg in",
    ):
        assert f"passed over: {line}" in notes
    assert len(notes.splitlines()) == 10
    assert indexed(tmp_path / "out") == pictures_of(range(12))


def headers(data: bytes) -> list[Any]:
    return list(tar_members(Tape("x.tar", io.BytesIO(data))))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_member_of_more_than_8_gib(form: int) -> None:
    """Its size is in base 256, or in a pax record; the file ends early, which is what is reported."""
    info = tarfile.TarInfo("large.jpg")
    info.size = 9 * 2**30 + 5
    with pytest.raises(InputError, match=r"x\.tar ends at byte \d+, in the middle of a member: it is truncated"):
        headers(info.tobuf(form) + b"\xff\xd8\xff" + bytes(1000))

    class Sparse(io.BytesIO):
        """A file that is 9 GiB of zeros longer than it is."""

        def seek(self, position: int, whence: int = 0) -> int:
            return super().seek(max(0, position - gap) if position > gap else position, whence)

    first = info.tobuf(form)
    second = tarfile.TarInfo("next.jpg").tobuf(form) + bytes(1024)
    gap = (info.size + 511) // 512 * 512
    read = list(tar_members(Tape("x.tar", Sparse(first + second))))
    assert [(member.name, member.size) for member in read] == [("large.jpg", info.size), ("next.jpg", 0)]
    assert read[0].offset == len(first)


def test_sparse_members_are_not_taken_for_files() -> None:
    info = tarfile.TarInfo("hole.jpg")
    info.size = 512
    old = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    old[156:157] = b"S"
    old[148:156] = b"%06o\0 " % (sum(old[:148] + old[156:]) + 8 * 32)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    new, end = info.tobuf(tarfile.PAX_FORMAT), bytes(512 + 1024)
    for header in (bytes(old), new):
        assert [member.obstacle for member in headers(header + end)] == ["sparse files"]


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "a", "b"]])
def test_the_order_of_the_sources_changes_nothing(order: list[str], tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        write_tar(tmp_path / f"{name}.tar", samples(range(number * 24, number * 24 + 24), classes=12))
    write_folders(tmp_path / "own", {f"own {n}": range(1000 + n * 3, 1003 + n * 3) for n in range(5)})
    index([str(tmp_path / "own"), str(tmp_path / "[abc].tar")], tmp_path / "x" / "one", title="t")
    index(
        [*(str(tmp_path / f"{name}.tar") for name in order), str(tmp_path / "own")], tmp_path / "y" / "two", title="t"
    )
    assert content(tmp_path / "x" / "one") == content(tmp_path / "y" / "two")


def test_a_group_from_a_key(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", samples(range(24)))
    result = index_sources([str(tmp_path / "x.tar")], tmp_path / "out", size=8, group="json:nested.group")
    index_, numbers = result.index, [int(i) for split in result.index.splits.values() for i in split]
    groups = index_.groups(np.array(sorted(numbers)))
    assert groups is not None
    assert [index_.group_name(int(i)) for i in groups] == [f"group {i % 2}" for i in range(6)]


def test_the_name_of_a_tar_can_be_the_label(tmp_path: Path) -> None:
    """As ImageNet's training images are after the first unpacking: a tar of images per class."""
    known = {f"n{n}": {picture(n * 3 + i, "JPEG") for i in range(3)} for n in range(6)}
    for name, images in known.items():
        write_tar(tmp_path / f"{name}.tar", [(f"{name}_{i}.JPEG", data) for i, data in enumerate(sorted(images))])
    index(tmp_path, tmp_path / "out", label="tar")
    assert indexed(tmp_path / "out") == known


def test_memory_does_not_grow_with_the_bytes(tmp_path: Path) -> None:
    large = b"\xff\xd8\xff" + bytes(2**25)
    path = write_tar(tmp_path / "x.tar", [("1.jpg", large), ("1.cls", b"1"), ("2.mp4", large)])
    tracemalloc.start()
    with opened(str(path), False) as tape:
        columns = scan_tar(tape, Rules("cls"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(columns.bytes) == [len(large)]
    assert peak < 2**23
