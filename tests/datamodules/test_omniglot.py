"""Omniglot: read from zip files of its layout, made up or (below LIGHTNING_META_DATA) real; fetched and checked."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules import write_omniglot
from datamodules.reading.shard_set import ShardSet
from datamodules.sources import omniglot
from datamodules.writing.shards import ClassImages
from lightning_meta.core import InputError
from support.made_omniglot import CHARACTERS, DRAWINGS, SPLITS, make_omniglot, rotations
from support.served import served_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_omniglot(tmp_path / "data" / "omniglot")


def check_turned(classes: list[ClassImages]) -> None:
    """The four classes of a character: ink 1 on a mostly-0 ground, each turned by 90 degrees from the one before."""
    assert [item.name.partition("/rot")[2] for item in classes] == ["000", "090", "180", "270"]
    assert len({item.name.partition("/rot")[0] for item in classes}) == 1
    images = [np.asarray(item.images) for item in classes]
    for turns, turned in enumerate(images):
        assert (turned.dtype, turned.shape[1:]) == (np.uint8, (1, 28, 28))
        assert turned.max() == 255
        assert 0.02 < (turned > 127).mean() < 0.3
        assert (turned == 0).mean() > 0.5
        difference = np.abs(turned.astype(int) - np.rot90(images[0], turns, axes=(2, 3)))
        assert difference.max() <= 32  # resampling rounds rows and columns in turn
        assert difference.mean() < 1
        assert turns == 0 or np.abs(turned.astype(int) - images[0]).mean() > 10


def test_zips_become_classes_in_four_rotations(data: Path) -> None:
    classes = list(omniglot.classes(data))
    assert [item.name for item in classes] == [name for part in CHARACTERS.values() for name in rotations(part)]
    for first in range(0, len(classes), 4):
        check_turned(classes[first : first + 4])
        assert all(len(item.images) == DRAWINGS for item in classes[first : first + 4])
    image = np.asarray(classes[0].images)[0, 0]
    assert (image[5, 10], image[10, 5]) == (255, 255)  # 15:23 of 105 pixels are 4:6 of 28
    assert (image[10, 10], image[22, 22], image[2, 10]) == (0, 0, 0)


def test_the_written_set_has_all_splits(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_META_DATA", str(data.parent))
    write_omniglot(tmp_path / "out")
    shards = ShardSet(str(tmp_path / "out"))
    names = {name: {shards.index.records[i].name for i in ids} for name, ids in shards.index.splits.items()}
    own = {name.removeprefix("images_"): characters for name, characters in CHARACTERS.items()}
    expected = {**SPLITS, **own, "trainval": SPLITS["train"] + SPLITS["val"]}
    upright = {f"{character}/rot000" for character in own["background"]}
    assert names == {
        **{name: set(rotations(characters)) for name, characters in expected.items()},
        "background_upright": upright,
    }
    assert shards.index.preprocess.shape == (1, 28, 28)
    numbers = {record.name: i for i, record in enumerate(shards.index.records)}
    for item in omniglot.classes(data):
        assert np.array_equal(shards.images(numbers[item.name], np.arange(DRAWINGS)), item.images)


@pytest.mark.parametrize("given", ["option", "variable", "nothing"])
def test_what_is_missing_is_named_with_both_remedies(
    data: Path, tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIGHTNING_META_DATA", raising=False)
    monkeypatch.chdir(data.parents[1])  # by default it is looked for in data/omniglot
    if given == "variable":
        monkeypatch.setenv("LIGHTNING_META_DATA", str(data.parent))
    write_omniglot(tmp_path / "whole", str(data) if given == "option" else None)
    (data / "images_evaluation.zip").unlink()
    (data / "splits_vinyals" / "val.txt").unlink()
    message = r"incomplete in \S*data/omniglot: images_evaluation\.zip, splits_vinyals/val\.txt missing\. Set "
    message += r"LIGHTNING_META_DATA to the folder .*, or add --download true"
    with pytest.raises(InputError, match=message):
        write_omniglot(tmp_path / "out", str(data) if given == "option" else None)
    assert not (tmp_path / "out").exists()


def truncate(data: Path) -> None:
    path = data / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:-300])


def flip(data: Path) -> None:
    path = data / "images_evaluation.zip"
    contents = bytearray(path.read_bytes())
    place = contents.find(b"IDAT") + 8
    contents[place : place + 9] = bytes(255 - byte for byte in contents[place : place + 9])
    path.write_bytes(contents)


def replace(data: Path) -> None:
    (data / "images_evaluation.zip").write_text("404: Not Found")


def shorten_list(data: Path) -> None:
    (data / "splits_vinyals" / "test.txt").write_text("\n".join(rotations(SPLITS["test"][:1])))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"images_evaluation\.zip is not a complete zip file .*: remove it and fetch it again"),
        (replace, r"images_evaluation\.zip is not a complete zip file .*: remove it and fetch it again"),
        (flip, r"images_evaluation\.zip"),
        (shorten_list, r"Angelic/character02"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(data: Path, tmp_path: Path, damage: Any, message: str) -> None:
    damage(data)
    with pytest.raises(InputError, match=message):
        write_omniglot(tmp_path / "out", str(data))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a real HTTP server, which stands for both repositories."""
    folder = tmp_path / "www"
    folder.mkdir()
    with served_folder(folder) as url:
        for name in ("OFFICIAL", "VINYALS"):
            monkeypatch.setattr(omniglot, name, url)
        yield folder


def serve(data: Path, folder: Path) -> None:
    for path in (*data.glob("*.zip"), *data.glob("splits_vinyals/*.txt")):
        shutil.copy(path, folder)
    if (folder / "all_runs.zip").is_file():
        (folder / "one-shot-classification").mkdir()
        shutil.move(folder / "all_runs.zip", folder / "one-shot-classification")


def test_a_download_is_whole_and_asked_for_once(
    data: Path, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(data, served)

    def checksums(kind: str, ending: str, names: Any) -> dict[str, str]:
        digests = {name: hashlib.new(kind, (served / f"{name}{ending}").read_bytes()).hexdigest() for name in names}
        return {name: f"{kind}:{digest}" for name, digest in digests.items()}

    monkeypatch.setattr(omniglot, "ARCHIVES", checksums("md5", ".zip", omniglot.ARCHIVES))
    monkeypatch.setattr(omniglot, "LISTS", checksums("sha256", ".txt", omniglot.LISTS))
    official = (data / "all_runs.zip").read_bytes()
    monkeypatch.setattr(omniglot, "ONE_SHOT", f"sha256:{hashlib.sha256(official).hexdigest()}")
    fetched = omniglot.find_archives(str(tmp_path / "new"), download=True)
    files = sorted(path.relative_to(data) for path in data.rglob("*.*"))
    assert sorted(path.relative_to(fetched) for path in fetched.rglob("*.*")) == files
    assert all((fetched / file).read_bytes() == (data / file).read_bytes() for file in files)
    shutil.rmtree(served)
    assert omniglot.find_archives(str(tmp_path / "new"), download=True) == fetched  # no request: nothing is missing


def test_a_download_with_another_checksum_is_refused_and_not_kept(data: Path, served: Path, tmp_path: Path) -> None:
    serve(data, served)
    with pytest.raises(InputError, match=r"/images_background\.zip came with md5 [0-9a-f]{32}, expected 68d2efa1"):
        write_omniglot(tmp_path / "out", str(tmp_path / "new"), download=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path not in (data.parent, served)) == []


def test_a_failed_download_names_the_address_and_the_file_wanted(served: Path, tmp_path: Path) -> None:
    assert not list(served.iterdir())
    message = (
        r"cannot download http://\S+/images_background\.zip: .*404.* by other means as \S+new/images_background\.zip"
    )
    with pytest.raises(InputError, match=message):
        omniglot.find_archives(str(tmp_path / "new"), download=True)
    assert not (tmp_path / "new").exists()


@pytest.fixture
def real() -> Path:
    if "LIGHTNING_META_DATA" not in os.environ:
        pytest.skip("LIGHTNING_META_DATA names no folder with omniglot/, the real zip files")
    return omniglot.find_archives(None, download=False)


def test_the_real_splits_are_those_of_the_papers(real: Path) -> None:
    split_of, extra = omniglot._vinyals(real), omniglot.extra_splits(real)
    assert Counter(split_of.values()) == {"train": 4112, "val": 688, "test": 1692}
    assert {name: len(labels) for name, labels in extra.items()} == {
        "trainval": 4800,
        "background": 964 * 4,
        "evaluation": 659 * 4,
        "background_upright": 964,
    }
    assert extra["background"] | extra["evaluation"] == set(split_of)  # so all 1,623 characters, and these two disjoint
    assert extra["trainval"] == {label for label, split in split_of.items() if split != "test"}
    by_character = Counter((label.rpartition("/")[0], split) for label, split in split_of.items())
    assert (len(by_character), set(by_character.values())) == (1623, {4})  # no character is in two splits


def test_real_characters_are_ink_on_nothing_and_turned(real: Path) -> None:
    with closing(omniglot.classes(real)) as reading:
        for _ in range(5):
            character = list(islice(reading, 4))
            check_turned(character)
            assert all(len(item.images) == 20 for item in character)


def test_the_official_class_lists_have_the_checksums_that_a_download_expects(
    real: Path, served: Path, tmp_path: Path
) -> None:
    serve(real, served)
    for name in omniglot.ARCHIVES:
        (tmp_path / f"{name}.zip").symlink_to(real / f"{name}.zip")
    (tmp_path / "all_runs.zip").touch()  # it is not asked for if it is there
    omniglot.find_archives(str(tmp_path), download=True)


@pytest.mark.slow
def test_the_real_set_is_written_whole(real: Path, tmp_path: Path) -> None:
    write_omniglot(tmp_path / "out", str(real))
    shards = ShardSet(str(tmp_path / "out"))
    sizes = {name: len(members) for name, members in shards.index.splits.items()}
    vinyals = {"train": 4112, "val": 688, "trainval": 4800, "test": 1692}
    assert sizes == {**vinyals, "background": 3856, "evaluation": 2636, "background_upright": 964}
    assert {record.count for record in shards.index.records} == {20}
    assert len({record.name for record in shards.index.records}) == 1623 * 4
    assert shards.verify() == []
