"""Bad tars of `lightning-meta shards index`: one clear line each, and nothing half-written."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datamodules.scanning import units
from datamodules.scanning.index_sources import index_sources
from lightning_meta.cli import main
from lightning_meta.core import InputError
from support.bad_sources import Case, Make, text
from support.image_sources import picture, samples, write_tar


def tar(path: Path) -> Path:
    return write_tar(path / "x.tar", samples(range(24)))


def changed(path: Path, change: Callable[[bytearray], Any]) -> None:
    data = bytearray(tar(path).read_bytes())
    result = change(data)
    (path / "x.tar").write_bytes(data if result is None else result)


def without_labels(path: Path) -> None:
    write_tar(path / "x.tar", [(f"{i}.jpg", picture(i, "JPEG")) for i in range(3)])


def captions(path: Path) -> None:
    write_tar(
        path / "x.tar", [("1.jpg", picture(1, "JPEG")), ("1.json", b'{"url": "x", "caption": "y"}'), ("1.txt", b"y")]
    )


def of_json(value: Any) -> Make:
    members = [
        ("1.jpg", picture(1, "JPEG")),
        ("1.json", value if isinstance(value, bytes) else json.dumps({"label": value}).encode()),
    ]
    return lambda path: write_tar(path / "x.tar", [*members, *samples(range(2, 8))])


def compressed(path: Path) -> None:
    with tarfile.open(path / "x.tar.gz", "w:gz") as file:
        file.addfile(tarfile.TarInfo("a"), io.BytesIO())


def secretly_compressed(path: Path) -> None:
    compressed(path)
    (path / "x.tar.gz").rename(path / "x.tar")


def no_images(path: Path) -> None:
    write_tar(path / "x.tar", [("1.mp4", b"video"), ("1.txt", b"text")])


def two_images(path: Path) -> None:
    write_tar(path / "x.tar", [("1.jpg", picture(1, "JPEG")), ("1.png", picture(1)), ("1.cls", b"1")])


def unsorted(sorted_first: int) -> Make:
    def make(path: Path) -> None:
        members = samples(range(sorted_first, sorted_first + 12))
        images, labels = ([one for one in members if one[0].endswith(ending)] for ending in ("g", "s"))
        write_tar(path / "x.tar", [*samples(range(sorted_first)), *images, *labels])

    return make


def joined(path: Path) -> None:
    (path / "x.tar").write_bytes(tar(path).read_bytes() * 2)


CASES = {
    "no file": Case(lambda _: None, "x.tar", r"there is no source .*x\.tar: check the path"),
    "no match": Case(lambda _: None, "*.tar", r"no file matches '.*\*\.tar': check the path"),
    "no brace": Case(tar, "x{1.tar", r"the source '.*x\{1\.tar' has a brace that is not closed"),
    "part of a pattern": Case(tar, "{x,y}.tar", r"there is no source .*y\.tar"),
    "no kind": Case(text("x.zip", "PK"), "x.zip", r"x\.zip is not a source: give tars \(\.tar\), parquet files"),
    "a query": Case(
        lambda _: None, "http://127.0.0.1:9/x.tar?token=1", r"/x\.tar has a query or a fragment, .*: give a plain URL"
    ),
    "compressed": Case(compressed, "x.tar.gz", r"x\.tar\.gz is compressed, .*: unpack it \(gunzip\) and give the tar"),
    "secretly compressed": Case(secretly_compressed, "x.tar", r"x\.tar is compressed, .*\(gunzip\)"),
    "empty tar": Case(text("x.tar", ""), "x.tar", r"x\.tar is empty: copy it again, or leave it out"),
    "a short file": Case(text("x.tar", "text"), "x.tar", r"x\.tar is 4 bytes long, and not a tar"),
    "no tar": Case(
        text("x.tar", "text" * 500), "x.tar", r"x\.tar has no valid header at byte 0: it is damaged, or not a tar"
    ),
    "cut in a member": Case(
        lambda p: changed(p, lambda data: data[:9000]), "x.tar", r"ends at byte 9000, .* it is truncated"
    ),
    "cut before a member": Case(
        lambda p: changed(p, lambda data: data[:1024]), "x.tar", r"ends at byte 1024 without the end mark"
    ),
    "damaged header": Case(
        lambda p: changed(p, lambda data: data.__setitem__(1030, 7)), "x.tar", r"no valid header at byte 1024"
    ),
    "two in one": Case(joined, "x.tar", r"holds more data after its end mark .*joined by `cat`"),
    "no labels": Case(
        without_labels,
        "x.tar",
        r"no label was found in the first 3 samples of .*x\.tar, which have jpg: give --label cls",
    ),
    "captions": Case(
        captions,
        "x.tar",
        r"which have jpg, json, txt \(keys url, caption\): give --label cls, json:KEY, folder, path or tar",
    ),
    "no such key": Case(
        tar,
        "x.tar",
        r"--label json:kind is in none of the first 24 samples .*\(keys label, nested\)",
        label="json:kind",
    ),
    "no such group": Case(tar, "x.tar", r"--group json:kind is in none of the first 24 samples", group="json:kind"),
    "a column of tars": Case(
        tar, "x.tar", r"--label label does not fit tars: choose cls, json:KEY, folder, path or tar", label="label"
    ),
    "a list": Case(
        of_json([1]),
        "x.tar",
        r"1 in .*x\.tar holds at label '\[1\]', a list and neither text nor an integer",
        label="json:label",
    ),
    "a fraction": Case(of_json(1.5), "x.tar", r"holds at label '1\.5', a float and neither", label="json:label"),
    "no document": Case(of_json(b"{"), "x.tar", r"1 in .*x\.tar is not JSON", label="json:label"),
    "control signs": Case(
        of_json("a\nb"), "x.tar", r"a label in .*x\.tar is 'a\\nb', which cannot be the name", label="json:label"
    ),
    "a video": Case(
        no_images, "x.tar", r"first 1 samples .* have no JPEG, PNG or WebP image; their endings are mp4, txt"
    ),
    "other ending": Case(
        tar, "x.tar", r"have no JPEG, PNG or WebP image \(\.png\); their endings are cls, jpg, json", image="png"
    ),
    "two images": Case(
        two_images, "x.tar", r"a sample of .*x\.tar has several images \(1\.jpg, 1\.png\): choose by --image ENDING"
    ),
    "no order": Case(
        unsorted(0), "x.tar", r"members of a sample do not follow .* \(cls stands apart .*--sort=name", label="cls"
    ),
    "order at first": Case(unsorted(100), "x.tar", r"members of sample 0100 do not follow one another: .*--sort=name"),
    "size": Case(tar, "x.tar", r"size must be 1 to 4096", size=0),
    "workers": Case(tar, "x.tar", r"workers is 0: give 1 or more", workers=0),
    "fractions of classes": Case(tar, "x.tar", r"three positive numbers that sum to 1", fractions=(1.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_tar_is_one_line_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    CASES[case].check(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    tar(tmp_path).chmod(0)
    if os.access(tmp_path / "x.tar", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(InputError, match=r"cannot read .*x\.tar \(Permission denied\): mend it, or leave it out"):
        index_sources([str(tmp_path / "x.tar")], tmp_path / "out", size=8)


def test_a_tar_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = units.READERS["tar"]

    def touched(unit: units.Unit, report: units.Report) -> units.Columns:
        columns = read(unit, report)
        os.utime(unit.place, ns=(1, 1))
        return columns

    monkeypatch.setitem(units.READERS, "tar", touched)
    with pytest.raises(InputError, match=r"x\.tar changed while it was read: start again when it is complete"):
        index_sources([str(tar(tmp_path))], tmp_path / "out", size=8)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_the_command_takes_several_sources_beside_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        write_tar(tmp_path / f"{name}.tar", samples(range(ord(name) * 24, ord(name) * 24 + 24)))
    main(["shards", "index", f"{tmp_path}/a.tar", "--out", f"{tmp_path}/out", "--size=8", f"{tmp_path}/b.tar"])
    said = capsys.readouterr().out.replace("\n", "")
    assert f"labels: cls, found in {tmp_path}/a.tar (--label chooses another)" in said
    assert f"{tmp_path}/out: 6 classes (train 2, val 2, test 2)" in said
    assert f"next: lightning-meta fit --config {tmp_path}/out/task.yaml" in said
