"""Shard sets: what is written reads back, by offset and by any WebDataset pipeline, whole or not at all."""

import hashlib
import io
import pickle
import signal
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
import yaml
from numpy.typing import NDArray
from PIL import Image

from datamodules import task_yaml
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import InputError

SIZE = 16
KINDS = ("raw", ".png", ".jpg", ".webp")


def pictures(number: int) -> NDArray[np.uint8]:
    """Images of class `number`: smooth, so that JPEG keeps them nearly."""
    rng = np.random.default_rng(number)
    count = 3 + number % 4
    corners = rng.integers(0, 256, (count, 2, 2, 3)).astype(np.uint8)
    images = [np.asarray(Image.fromarray(c).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for c in corners]
    return np.stack(images).transpose(0, 3, 1, 2)


def encode(image: NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    options = {".png": {}, ".jpg": {"quality": 95}, ".webp": {"lossless": True}}[kind]
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, kind[1:].replace("jpg", "jpeg"), **options)
    return buffer.getvalue()


def classes(kind: str = "raw", number: int = 9) -> Iterator[ClassImages]:
    for i in range(number):
        images = pictures(i) if kind == "raw" else [(kind, encode(image, kind)) for image in pictures(i)]
        yield ClassImages(f"class {i}", ("train", "val", "test")[i % 3], images, f"source {i}")


def write(out: Path, kind: str = "raw", megabytes: float = 64.0) -> ShardSet:
    write_shards(out, "made up", Preprocess(SIZE), classes(kind), {"both": {"class 1", "class 2"}}, megabytes)
    return ShardSet(str(out))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_reads_back(tmp_path: Path, kind: str) -> None:
    shards = write(tmp_path / "set", kind)
    assert [record.name for record in shards.index.records] == [f"class {i}" for i in range(9)]
    splits = {name: members.tolist() for name, members in shards.index.splits.items()}
    assert splits == {"train": [0, 3, 6], "val": [1, 4, 7], "test": [2, 5, 8], "both": [1, 2]}
    assert shards.verify() == []
    assert shards.report() is None
    for number in range(9):
        images = pictures(number)
        assert shards.count(number) == len(images)
        which = np.array([2, 0])
        difference = np.abs(shards.images(number, which).astype(int) - images[which])
        assert difference.max() <= (40 if kind == ".jpg" else 0)
        assert difference.mean() < 4


@pytest.mark.parametrize("kind", ["raw", ".png"])
def test_the_index_tells_where_the_bytes_lie(tmp_path: Path, kind: str) -> None:
    shards = write(tmp_path / "set", kind)
    for shard in shards.index.sources:
        data = (tmp_path / "set" / shard.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
    for number, record in enumerate(shards.index.records):
        data = (tmp_path / "set" / shards.index.sources[record.blobs[0].source].path).read_bytes()
        blobs = [data[blob.offset : blob.offset + blob.bytes] for blob in record.blobs]
        images = pictures(number)
        assert blobs == ([images.tobytes()] if kind == "raw" else [encode(image, kind) for image in images])
        assert [zlib.crc32(blob) for blob in blobs] == [blob.crc32 for blob in record.blobs]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves that to the collector
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_shards_are_ordinary_webdataset_shards(tmp_path: Path, kind: str) -> None:
    index = write(tmp_path / "set", kind).index
    paths = [str(tmp_path / "set" / shard.path) for shard in index.sources]
    samples = list(wds.WebDataset(paths, shardshuffle=False).decode("rgb8"))
    assert sorted(sample["json"]["name"] for sample in samples) == [record.name for record in index.records]
    for sample in samples:
        number = int(sample["__key__"])
        images = pictures(number)
        count = len(images)
        about = {"name": f"class {number}", "split": ("train", "val", "test")[number % 3]}
        assert sample["json"] == about | {"count": count, "source": f"source {number}"}
        if kind == "raw":
            assert np.array_equal(sample["0000.images.npy"], images)
        else:
            decoded = np.stack([sample[f"{i:04d}{kind}"] for i in range(count)]).transpose(0, 3, 1, 2)
            assert np.abs(decoded.astype(int) - images).mean() < (4 if kind == ".jpg" else 1e-9)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == [
        "index.columns",
        "index.json",
        "task.yaml",
        "test-000000.tar",
        "train-000000.tar",
        "val-000000.tar",
    ]
    first, second = ({f: (tmp_path / name / f).read_bytes() for f in files} for name in ("first", "second"))
    assert first.pop("task.yaml").replace(b"first", b"second") == second.pop("task.yaml")
    assert first == second


def test_a_task_file_is_written_for_sets_that_have_the_splits_of_a_run(tmp_path: Path) -> None:
    index = write(tmp_path / "set").index
    task = yaml.safe_load((tmp_path / "set" / "task.yaml").read_text())
    assert task == yaml.safe_load(task_yaml(tmp_path / "set", index))
    assert task["data"]["init_args"] == {"root": str(tmp_path / "set"), "ways": 3, "shots": 1, "queries": 2}
    assert task["model"]["learner"]["init_args"]["backbone"]["class_path"] == "lightning_meta.nn.Conv4"
    write_shards(tmp_path / "train", "one split", Preprocess(SIZE), list(classes())[::3])
    assert not (tmp_path / "train" / "task.yaml").exists()


def test_a_full_shard_is_followed_by_another_of_its_split(tmp_path: Path) -> None:
    shards = write(tmp_path / "set", megabytes=0.001)
    names = [shard.path for shard in shards.index.sources]
    assert sorted(names) == sorted(f"{split}-{i:06d}.tar" for split in ("train", "val", "test") for i in range(3))
    for number, record in enumerate(shards.index.records):
        assert names[record.blobs[0].source].startswith(("train", "val", "test")[number % 3])
        with tarfile.open(tmp_path / "set" / names[record.blobs[0].source]) as tar:
            assert tar.getnames() == [f"{number:06d}.0000.images.npy", f"{number:06d}.json"]
        assert np.array_equal(shards.images(number, np.arange(3)), pictures(number)[:3])


@pytest.mark.parametrize("existing", ["file", "empty folder", "folder"])
def test_nothing_is_overwritten(tmp_path: Path, existing: str) -> None:
    out = tmp_path / "set"
    if existing == "file":
        out.write_text("mine")
    else:
        out.mkdir()
    if existing == "folder":
        (out / "mine").write_text("mine")
    with pytest.raises(InputError, match=r"exists: nothing is overwritten.*--out"):
        write(out)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == (
        ["set", "set/mine"] if existing == "folder" else ["set"]
    )


def test_a_failing_source_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[ClassImages]:
        yield from classes(number=4)
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        write_shards(tmp_path / "set", "made up", Preprocess(SIZE), failing())
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from datamodules import task_yaml
from datamodules.reading.preprocess import Preprocess
from datamodules.writing.shards import ClassImages, write_shards

def classes():
    for i in range(100):
        yield ClassImages(str(i), "train", np.zeros((4, 3, 16, 16), np.uint8))
        if i == 50:
            print("half", flush=True)
            time.sleep(60)

write_shards(Path(sys.argv[1]), "killed", Preprocess(16), classes(), shard_megabytes=0.01)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_that_reads(tmp_path: Path) -> None:
    out = tmp_path / "set"
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(out)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    with writer.stdout:
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert list(tmp_path.rglob("*.tar"))  # it was in the middle of it
    for folder in (out, *(path for path in tmp_path.rglob("*") if path.is_dir())):
        with pytest.raises(InputError, match="no shards at"):
            ShardSet(str(folder))
    assert write(out).verify() == []
    assert list(tmp_path.iterdir()) == [out]


def test_a_pickled_set_holds_no_images_and_reads_the_same(tmp_path: Path) -> None:
    """The copy that a loader worker gets which is not forked."""
    shards = write(tmp_path / "set")
    first = shards.images(0, np.arange(3))
    pickled = pickle.dumps(shards)
    assert first.tobytes() not in pickled
    assert np.array_equal(pickle.loads(pickled).images(0, np.arange(3)), first)
