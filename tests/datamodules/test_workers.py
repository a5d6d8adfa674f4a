"""The number of loader processes that `num_workers: auto` chooses."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules.images import ImageEpisodes
from datamodules.writing.shards import ClassImages, Preprocess, write_shards
from lightning_meta.core import InputError
from lightning_meta.core.cores import quota_of, usable_cores
from support.faulty_server import serving

ARRAY = np.zeros((4, 3, 8, 8), np.uint8)


def encoded() -> list[tuple[str, bytes]]:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return [(".png", file.getvalue())] * 4


def made(root: Path, images: Any) -> Path:
    write_shards(root, "set", Preprocess(8), [ClassImages(f"c{i}", "train", images) for i in range(3)])
    return root


def data(root: object, **options: Any) -> ImageEpisodes:
    sizes = {"ways": 2, "shots": 1, "queries": 1, "meta_batch": 2, "epoch_batches": 2}
    return ImageEpisodes(str(root), **sizes, splits=("train", "train", "train"), **options)


@pytest.mark.parametrize(("cores", "chosen"), [("1", 0), ("2", 1), ("5", 4), ("64", 8)])
def test_encoded_images_take_the_spare_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: str, chosen: int
) -> None:
    monkeypatch.setenv("LIGHTNING_META_CORES", cores)
    assert data(made(tmp_path / "set", encoded())).workers() == chosen


def test_arrays_on_this_machine_take_none_and_remote_ones_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LIGHTNING_META_CORES", "4")
    monkeypatch.setenv("LIGHTNING_META_CACHE", str(tmp_path / "cache"))
    root = made(tmp_path / "www" / "set", ARRAY)
    local = data(root)
    with caplog.at_level("INFO"):
        assert [local.workers(), local.workers()] == [0, 0]
    assert caplog.text.count("num_workers is 0: the images are arrays on this machine") == 1
    assert data(root, num_workers=2).workers() == 2
    with serving(root) as server:
        assert data(server.url).workers() == 3


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "many", ""])
def test_an_invalid_number_of_cores_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("LIGHTNING_META_CORES", given)
    with pytest.raises(InputError, match=rf"^LIGHTNING_META_CORES is '{given}': give a whole number of cores"):
        usable_cores()


@pytest.mark.parametrize("given", [-1])
def test_an_invalid_number_of_workers_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"^num_workers is .+: give .*0 or more$"):
        data("set", num_workers=given)


def test_the_cores_are_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_META_CORES", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "damaged\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_control_group(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert quota_of(tmp_path) == quota
