"""`lightning-meta shards write folder`: a user's images a sub-folder a class, divided or as divided."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from datamodules import write_folder
from datamodules.images import ImageEpisodes
from datamodules.reading.shard_set import ShardSet
from lightning_meta.cli import main
from lightning_meta.core import InputError

SIZE = 16


def picture(seed: int, side: int = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def save_classes(folder: Path, names: list[str], images: int = 3) -> Path:
    """Other images in each class, by its path."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for j in range(images):
            Image.fromarray(picture(zlib.crc32(f"{folder.name}/{name}/{j}".encode()))).save(folder / name / f"{j}.png")
    return folder


NAMES = [f"class {i:02d}" for i in range(20)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_classes(tmp_path / "images", NAMES)


def write(images: Path, **options: Any) -> ShardSet:
    """Written beside `images`, and read back."""
    out = images.parent / options.pop("out", "set")
    print(write_folder(images, out, **({"size": SIZE} | options)).summary())
    return ShardSet(str(out))


def names(shards: ShardSet) -> dict[str, list[str]]:
    return {split: [shards.index.records[i].name for i in members] for split, members in shards.index.splits.items()}


def read(shards: ShardSet, name: str) -> NDArray[np.uint8]:
    """All images of a class, in the order of their files' names."""
    (number,) = (i for i, record in enumerate(shards.index.records) if record.name == name)
    return shards.images(number, np.arange(shards.count(number)))


@pytest.mark.parametrize(
    ("fractions", "sizes"),
    [((0.64, 0.16, 0.2), (13, 3, 4)), ((0.5, 0.25, 0.25), (10, 5, 5)), ((0.98, 0.01, 0.01), (16, 2, 2))],
)
def test_the_split_is_disjoint_whole_and_of_the_seed(images: Path, fractions: Any, sizes: tuple[int, ...]) -> None:
    splits = [names(write(images, fractions=fractions, seed=seed, out=f"{i}")) for i, seed in enumerate((0, 0, 1))]
    for split in splits:
        assert tuple(len(split[name]) for name in ("train", "val", "test")) == sizes
        assert sorted(split["train"] + split["val"] + split["test"]) == NAMES
    assert splits[0] == splits[1]
    assert all(set(splits[0][name]) != set(splits[2][name]) for name in ("train", "val", "test"))
    for file in (images.parent / "0").glob("*.tar"):
        assert file.read_bytes() == (images.parent / "1" / file.name).read_bytes()


def test_ready_made_splits_stay(tmp_path: Path) -> None:
    made = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g"]}
    for split, members in made.items():
        save_classes(tmp_path / "images" / split, members)
    (tmp_path / "images" / "train" / ".cache").mkdir()
    assert names(write(tmp_path / "images")) == made


def too_few(images: Path) -> None:
    save_classes(images, NAMES[:5])


def five_and_a_file(images: Path) -> None:
    too_few(images)
    (images / "README.txt").write_text("about")


def empty_class(images: Path) -> None:
    save_classes(images, NAMES[:5])
    (images / "class 05").mkdir()
    (images / "class 05" / "notes.txt").write_text("no image")


def no_test(images: Path) -> None:
    save_classes(images / "train", NAMES)
    save_classes(images / "val", NAMES)


def one_class_in_val(images: Path) -> None:
    for split, members in {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]}.items():
        save_classes(images / split, members)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda _: None, {}, r"images is not a folder: give a folder with one sub-folder of images for each class"),
        (Path.touch, {}, r"images is not a folder"),
        (Path.mkdir, {}, r"images has 0 class folders"),
        (too_few, {}, r"images has 5 class folders; a split needs two or more, and all three six"),
        (five_and_a_file, {}, r"images has 5 class folders"),
        (empty_class, {}, r"class 05 holds no images: put files ending in \.jpg, \.jpeg, \.png, \.webp there"),
        (no_test, {}, r"images holds train, val, but not all of train, val and test"),
        (one_class_in_val, {}, r"images/val has 1 class folders; a split needs two or more"),
        (
            lambda images: save_classes(images, NAMES),
            {"fractions": (0.5, 0.5, 0.5)},
            r"three positive numbers that sum to 1",
        ),
        (lambda images: save_classes(images, NAMES), {"fractions": (1.0, 0.0, 0.0)}, r"three positive numbers"),
        (lambda images: save_classes(images, NAMES), {"size": 0}, r"size must be 1 to 4096"),
        (lambda images: save_classes(images, NAMES), {"channels": 4}, r"channels 1 or 3"),
        (lambda images: save_classes(images, NAMES), {"seed": -1}, r"seed is -1: give 0 or more"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    tmp_path: Path, make: Any, options: dict[str, Any], message: str
) -> None:
    make(tmp_path / "images")
    with pytest.raises(InputError, match=message):
        write(tmp_path / "images", **options)
    assert [path.name for path in tmp_path.iterdir() if path.name != "images"] == []


def spoil(images: Path) -> list[Path]:
    """Three files that do not decode: cut off, none at all, and something else."""
    whole = io.BytesIO()
    Image.fromarray(picture(1, 64)).save(whole, "JPEG")
    for path, data in (
        ("class 03/x.jpg", whole.getvalue()[:300]),
        ("class 03/y.png", b""),
        ("class 11/z.webp", b"text"),
    ):
        (images / path).write_bytes(data)
    return [images / "class 03/x.jpg", images / "class 03/y.png", images / "class 11/z.webp"]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("encoded", [False, True])
def test_an_image_that_does_not_decode_is_refused_by_name(images: Path, which: int, encoded: bool) -> None:
    kept = spoil(images)[which]
    for path in set(spoil(images)) - {kept}:
        path.unlink()
    with pytest.raises(InputError, match=rf"cannot decode the image {kept} .*: mend or remove it, or .* --skip true"):
        write(images, encoded=encoded)
    assert list(images.parent.iterdir()) == [images]


@pytest.mark.parametrize("encoded", [False, True])
def test_images_that_do_not_decode_are_skipped_and_counted(
    images: Path, encoded: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write(images, encoded=encoded, out="whole")
    spoiled = spoil(images)
    shards = write(images, encoded=encoded, skip=True)
    printed = capsys.readouterr().out.replace("\n", " ")
    assert all(f"skipped: cannot decode the image {path} " in printed for path in spoiled)
    assert "3 images could not be decoded and were skipped" in printed
    assert all(np.array_equal(read(shards, name), read(whole, name)) for name in NAMES)


def test_a_class_of_which_nothing_decodes_is_refused(images: Path) -> None:
    (images / "class 20").mkdir()
    (images / "class 20" / "a.png").write_bytes(b"text")
    with pytest.raises(InputError, match=r"class 20 has 0 images that can be decoded, but a task takes 2 or more"):
        write(images, skip=True)


@pytest.mark.parametrize("existing", ["file", "folder"])
def test_an_existing_out_is_refused_before_anything_is_read(tmp_path: Path, existing: str) -> None:
    out = tmp_path / "set"
    out.write_text("mine") if existing == "file" else out.mkdir()
    with pytest.raises(InputError, match=r"set exists: nothing is overwritten\. Choose another --out"):
        write(tmp_path / "images that are not there")
    assert list(tmp_path.rglob("*")) == [out]


def test_the_task_file_opens_the_set(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line, from the folder to an episode; the smallest split has 3 classes, the smallest class 2 images."""
    (images / "class 03" / "0.png").unlink()
    out = images.parent / "shards" / "mine"
    main(
        [
            "shards",
            "write",
            "folder",
            str(images),
            "--out",
            str(out),
            "--size",
            "16",
            "--fractions",
            "[0.7, 0.15, 0.15]",
        ]
    )
    assert f"{out}: 20 classes (train 14, val 3, test 3)" in capsys.readouterr().out.replace("\n", " ")
    config = yaml.safe_load((out / "task.yaml").read_text())
    assert config["data"]["class_path"] == "datamodules.images.ImageEpisodes"
    assert config["data"]["init_args"] == {"root": str(out), "ways": 3, "shots": 1, "queries": 1}
    backbone = config["model"]["learner"]["init_args"]["backbone"]
    assert backbone["init_args"] == {"in_channels": 3, "image_size": 16}
    data = ImageEpisodes(**config["data"]["init_args"])
    for stage in ("fit", "test"):
        data.setup(stage)
    assert next(iter(data.train_dataloader())).query.x.shape == (4, 3, 3, 16, 16)
