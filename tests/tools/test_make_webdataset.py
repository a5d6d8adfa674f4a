"""The WebDataset that a tool writes is an ordinary one: `shards index` makes episodes of it."""

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np

from datamodules.reading.shard_set import ShardSet
from datamodules.scanning.index_sources import index_sources
from datamodules.sources.glyphs import draw_class
from support.paths import ROOT

TOOL = [sys.executable, ROOT / "tools" / "make_webdataset.py"]


def test_the_index_of_a_written_webdataset_holds_its_images(tmp_path: Path) -> None:
    command = [*TOOL, tmp_path / "tars", "--images", "250", "--shards", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "250 images of 13 classes in 3 tars" in done.stdout
    with tarfile.open(tmp_path / "tars/images-000000.tar") as tar:
        names = tar.getnames()
    assert [name.rpartition(".")[2] for name in names] == ["png", "cls"] * (len(names) // 2)
    written = index_sources([str(tmp_path / "tars/*.tar")], tmp_path / "set", size=28, channels=1)
    shards = ShardSet(str(written.folder), roots={"tars": str(tmp_path / "tars")})
    for number, record in enumerate(shards.index.records):
        images = shards.images(number, np.arange(record.count))[:, 0]
        drawn = draw_class(0, int(record.name), record.count)
        assert {image.tobytes() for image in images} == {image.tobytes() for image in drawn}
    assert (tmp_path / "tars/classes.txt").read_text().splitlines()[12] == "glyph 12"


def test_more_tars_than_images_are_refused(tmp_path: Path) -> None:
    command = [*TOOL, tmp_path / "tars", "--images", "2", "--shards", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: shards is 3: give at most the number of images, 2\n")
    assert not (tmp_path / "tars").exists()
