"""`lightning-meta shards index` of parquet files, class folders and CSV lists, with known answers."""

import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from datamodules.images import ImageEpisodes
from datamodules.index.shard_index import Index
from datamodules.reading.named_set import set_place
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.scanning.index_sources import index_sources
from lightning_meta.cli import main
from lightning_meta.core import InputError
from support.image_sources import (
    content,
    indexed,
    picture,
    pictures_of,
    samples,
    write_folders,
    write_parquet,
    write_tar,
)

NAMES = ["cat", "dog", "emu", "fox", "gnu", "hen"]


def index(sources: Path | Iterable[Path], out: Path, **options: Any) -> tuple[str, ...]:
    """Index, and return the notes."""
    paths = [sources] if isinstance(sources, Path) else sources
    return index_sources([str(path) for path in paths], out, size=8, **options).notes


def groups(index_: Index) -> dict[str, str]:
    numbers = index_.groups(np.arange(len(index_.records)))
    assert numbers is not None
    return {record.name: index_.group_name(int(i)) for record, i in zip(index_.records, numbers, strict=True)}


def test_parquet_files_of_several_row_groups_name_their_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", range(17), NAMES)
    write_parquet(tmp_path / "train-1.parquet", range(18, 31), NAMES)
    assert index(tmp_path, tmp_path / "out") == ()
    known = pictures_of([*range(17), *range(18, 31)], kind="PNG")
    assert indexed(tmp_path / "out") == {NAMES[int(i)]: images for i, images in known.items()}


def test_parquet_columns_of_other_names_types_and_without_values(tmp_path: Path) -> None:
    """Plain bytes, text as labels, a group, and rows without an image or a label."""
    pictures = [picture(i) for i in range(24)]
    columns = {
        "photo": pa.array([*pictures, None, picture(99), b"GIF89a"], pa.large_binary()),
        "kind": pa.array([*(f" k{i % 6} " for i in range(24)), "k0", None, "k0"]).dictionary_encode(),
        "part": pa.array([i % 6 % 3 for i in range(27)], pa.int8()),
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=10)
    result = index_sources([str(tmp_path / "x.parquet")], tmp_path / "out", size=8, label="kind", group="part")
    assert indexed(tmp_path / "out") == pictures_of(range(24), name="k{}", kind="PNG")
    assert groups(result.index) == {f"k{i}": str(i % 3) for i in range(6)}
    notes = "\n".join(result.notes)
    assert "1 rows without image bytes (the first: row 24 in" in notes
    assert "1 rows without a label (kind) (the first: row 25 in" in notes
    assert "1 rows whose image is not JPEG, PNG or WebP (the first: row 26 in" in notes


def test_an_unknown_class_of_a_hugging_face_set_is_no_label(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", range(18), NAMES)
    table = pq.read_table(path)
    unknown = pa.array([-1 if i == 5 else i % 6 for i in range(18)], pa.int64())
    pq.write_table(table.set_column(1, table.schema.field("label"), unknown), path)
    assert "1 rows without a label (label) (the first: row 5 in" in index(path, tmp_path / "out")[0]


@pytest.mark.parametrize("divided", [False, True])
def test_folders_of_class_folders(divided: bool, tmp_path: Path) -> None:
    """With a name that is not UTF-8, where the file system allows it."""
    classes = {f"class {n}": range(n * 3, n * 3 + 3) for n in range(6)}
    parts = ("train", "val", "test")
    for name, numbers in classes.items():
        part = parts[int(name[-1]) // 2]
        write_folders(tmp_path / "own" / part if divided else tmp_path / "own", {name: numbers})
    odd = os.fsencode(tmp_path / "own" / ("test" if divided else "") / "class 5") + b"/\xff#?.png"
    with open(odd, "wb") as file:
        file.write(picture(77))
    (tmp_path / "own" / "notes.txt").write_text("about")
    result = index_sources([str(tmp_path / "own")], tmp_path / "out", size=8)
    assert result.notes == (f"in no class folder of {tmp_path / 'own'}, and passed over: notes.txt",)
    known = {name: {picture(i) for i in numbers} for name, numbers in classes.items()}
    known["class 5"].add(picture(77))
    assert indexed(tmp_path / "out") == known
    if divided:
        splits = {name: [result.index.records[int(i)].name[-1] for i in result.index.split(name)] for name in parts}
        assert splits == {"train": ["0", "1"], "val": ["2", "3"], "test": ["4", "5"]}


def write_list(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_a_list_of_paths_labels_splits_and_groups(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "own", {"a,b": range(12), "c": range(12, 24)})
    split = {0: "train", 1: "train", 2: "val", 3: "val", 4: "test", 5: "test"}
    lines = ["group,path,label,split,more"]
    for i in range(24):
        folder = f'"a,b/{i}.png"' if i < 12 else f"./c/{i}.png" if i < 18 else f"{root}/c/{i}.png"
        lines.append(f"g{i % 6 % 2},{folder},k{i % 6},{split[i % 6]},x")
    result = index_sources([str(write_list(root / "list.csv", lines))], tmp_path / "out", size=8)
    assert indexed(tmp_path / "out") == pictures_of(range(24), name="k{}", kind="PNG")
    assert groups(result.index) == {f"k{i}": f"g{i % 2}" for i in range(6)}
    found = {
        name: [result.index.records[int(i)].name for i in result.index.split(name)] for name in result.index.splits
    }
    assert found == {"train": ["k0", "k1"], "val": ["k2", "k3"], "test": ["k4", "k5"]}


def test_several_kinds_of_source_make_one_set(tmp_path: Path) -> None:
    """With classes of one name in several sources, which are one class."""
    write_tar(tmp_path / "t" / "x.tar", samples(range(12)))
    write_parquet(tmp_path / "x.parquet", range(100, 112), [f"{i}" for i in range(6)])
    write_folders(tmp_path / "own", {"0": [200, 201], "new": [202, 203]})
    index([tmp_path / "t" / "x.tar", tmp_path / "x.parquet", tmp_path / "own"], tmp_path / "out")
    known = pictures_of(range(12))
    for i in range(100, 112):
        known[f"{i % 6}"].add(picture(i))
    known["0"] |= {picture(200), picture(201)}
    known["new"] = {picture(202), picture(203)}
    assert indexed(tmp_path / "out") == known


def write_pairs(path: Path, column: str, pairs: Mapping[str, str]) -> Path:
    return write_list(path, [f"class,{column}", *(f"{name},{value}" for name, value in pairs.items())])


def test_lists_of_splits_and_groups(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "x.tar", samples(range(36), classes=12))
    wanted = {f"{i}": ("train", "val", "test")[i % 3] for i in range(9)}
    split = write_pairs(tmp_path / "split.csv", "split", wanted | {"9": "", "absent": "test"})
    group = write_pairs(tmp_path / "group.csv", "group", {f"{i}": f"g{i // 6}" for i in range(12)})
    with pytest.raises(
        InputError, match=r"split\.csv does not list 2 of the classes \(10, 11\): add them, with an empty"
    ):
        index(tar, tmp_path / "out", split=split, group=str(group))
    result = index_sources([str(tar)], tmp_path / "out", split=split, group=str(group), only_listed=True)
    found = {
        record.name: name
        for name in result.index.splits
        for record in map(result.index.record, map(int, result.index.split(name)))
    }
    assert found == wanted
    assert groups(result.index) == {f"{i}": f"g{i // 6}" for i in range(9)}
    assert result.notes == (
        f"left out, as {split} says: 3 classes (10, 11, 9)",
        f"1 classes that {split} lists have no images here (absent)",
    )


def test_small_classes_are_named_or_dropped(tmp_path: Path) -> None:
    root = write_folders(
        tmp_path / "own", {f"c{n}": range(n * 3, n * 3 + 3) for n in range(6)} | {"one": [90], "two": [91, 92]}
    )
    with pytest.raises(InputError, match=r"1 classes have fewer than 2 images, .* \(one has 1\).*--min_images 2"):
        index(root, tmp_path / "out")
    notes = index(root, tmp_path / "out", min_images=3)
    assert "dropped, with fewer than 3 images: 2 classes (one, two)" in notes
    assert sorted(indexed(tmp_path / "out")) == [f"c{n}" for n in range(6)]


def test_images_in_two_splits_are_refused_or_reported(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("val", 10), ("test", 20)):
        write_folders(tmp_path / "own" / part, {f"{part} {n}": range(first + n * 3, first + n * 3 + 3) for n in (0, 1)})
    for i in range(2):
        (tmp_path / "own" / "test" / "test 0" / f"{20 + i}.png").write_bytes(picture(i))
    (tmp_path / "own" / "val" / "val 0" / "copy.png").write_bytes(picture(10))
    with pytest.raises(
        InputError, match=r"2 images of class t.* 0 \(t.*\) are in class t.* 0 \(t.*\) too, byte for byte"
    ):
        index(tmp_path / "own", tmp_path / "out")
    result = index_sources([str(tmp_path / "own")], tmp_path / "out", size=8, shared_classes=True)
    name = [record.name for record in result.index.records]
    assert [[name[int(i)] for i in pair] for pair in result.index.same] == [["test 0", "train 0"]]
    assert result.notes[0].startswith(
        "3 images are byte-for-byte copies of others: 2 in a class of another split, 1 in the same"
    )


def test_the_same_seed_divides_as_before_and_another_differently(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "own", {f"c{n:02d}": [n * 2, n * 2 + 1] for n in range(20)})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        index(root, tmp_path / name, seed=seed, title="t")
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


def test_an_index_is_read_as_a_shard_set(tmp_path: Path) -> None:
    """Its task file names the roots, its images have the pixels of the files, and `verify` reads them all."""
    root = write_folders(tmp_path / "own", {f"c{n}": range(n * 4, n * 4 + 4) for n in range(6)})
    write_tar(tmp_path / "t" / "x.tar", samples(range(48), classes=12))
    (tmp_path / "p").mkdir()
    write_parquet(tmp_path / "p" / "x.parquet", range(200, 248), [f"p{i}" for i in range(12)])
    index([root, tmp_path / "t", tmp_path / "p"], tmp_path / "out")
    arguments = yaml.safe_load((tmp_path / "out" / "task.yaml").read_text())["data"]["init_args"]
    assert arguments["roots"] == {"own": str(root), "p": str(tmp_path / "p"), "t": str(tmp_path / "t")}
    shards, decode = ShardSet(arguments["root"], roots=arguments["roots"]), Preprocess(8)
    shards = pickle.loads(pickle.dumps(shards))
    known = {
        name: sorted(decode(image).tobytes() for image in all_) for name, all_ in indexed(tmp_path / "out").items()
    }
    for number, record in enumerate(shards.index.records):
        images = shards.images(number, np.arange(record.count))
        assert sorted(image.tobytes() for image in images) == known[record.name]
    assert shards.verify() == []
    assert shards.describe().endswith("in place")
    data = ImageEpisodes(**arguments | {"meta_batch": 2, "epoch_batches": 3, "num_workers": 1})
    data.setup("fit")
    every = {image for images in known.values() for image in images}
    for batch in data.train_dataloader():
        for image in (batch.support.x * 255).round().byte().numpy().reshape(-1, 3, 8, 8):
            assert image.tobytes() in every
    with pytest.raises(
        InputError, match=r"reads images below own, p, t, but `roots` does not say where .*out/task\.yaml"
    ):
        ShardSet(arguments["root"])


def test_commands_take_the_task_file_of_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folders(tmp_path / "own", {f"c{n}": range(n * 4, n * 4 + 4) for n in range(6)})
    index(root, tmp_path / "out")
    task = str(tmp_path / "out" / "task.yaml")
    main(["shards", "verify", task])
    assert "24 shards, 6 classes, all as the index says" in capsys.readouterr().out.replace("\n", " ")
    main(["shards", "sheet", task, "--out", str(tmp_path / "sheet.png")])
    main(["shards", "export", task, "--out", str(tmp_path / "try"), "--classes", "2", "--query", "1"])
    assert (tmp_path / "sheet.png").is_file()
    assert len(list((tmp_path / "try" / "query").iterdir())) == 2
    for content_of, message in (("[", "names no set of images"), ("data: {}", "names no set of images")):
        (tmp_path / "bad.yaml").write_text(content_of)
        with pytest.raises(InputError, match=message):
            set_place(str(tmp_path / "bad.yaml"))
    with pytest.raises(InputError, match=r"cannot read the task file .*none\.yaml \(No such file"):
        set_place(str(tmp_path / "none.yaml"))


def test_damaged_sources_are_told_by_name(tmp_path: Path) -> None:
    """Bytes of an image that differ, and a file of another length, in parquet as in tars."""
    (tmp_path / "p").mkdir()
    path = write_parquet(tmp_path / "p" / "x.parquet", range(24), NAMES)
    index(path, tmp_path / "out")
    pixels = picture(3)[60:80]
    data = path.read_bytes().replace(pixels, pixels[::-1])  # in the page, and perhaps in statistics
    path.write_bytes(data)
    (line,) = ShardSet(str(tmp_path / "out"), roots={"p": str(tmp_path / "p")}).verify()
    assert "class fox in" in line
    assert "is damaged" in line or "cannot be read" in line
    path.write_bytes(data[:-1])
    (line,) = ShardSet(str(tmp_path / "out"), roots={"p": str(tmp_path / "p")}).verify()
    assert "x.parquet is" in line
    assert "bytes long; the index says" in line
