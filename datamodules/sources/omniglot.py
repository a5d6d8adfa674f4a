"""Omniglot: Brenden Lake et al. Human-level concept learning through probabilistic program induction. Science 2015.

1,623 characters of 50 alphabets, each drawn by 20 people. Read from the two official zip files.
"""

import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from datamodules.index.fixed_episodes import FILE, episodes_text
from datamodules.reading.image_files import is_clutter
from datamodules.reading.preprocess import Preprocess
from datamodules.sources.download import download_file
from datamodules.sources.one_shot import ARCHIVE, Run, ink_digest, one_shot_set, read_runs
from datamodules.writing.shards import ClassImages, check_out, write_shards
from datamodules.writing.task_file import fixed_task_yaml
from datamodules.writing.written_set import WrittenSet
from lightning_meta.core import InputError

OFFICIAL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
VINYALS = "https://raw.githubusercontent.com/jakesnell/prototypical-networks/master/data/omniglot/splits/vinyals"
ARCHIVES = {
    "images_background": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}
LISTS = {
    "train": "sha256:984522c194c30fb678ce53304a160a42faf5403ad4f9a67010f32dd3a35738e0",
    "val": "sha256:11f99e54faee3e26f53d3231c1cceac5bf7b8730e9be31cb6dab256551dc0c1a",
    "test": "sha256:845264cc5c156180828ccf17915668b17ee21424d0170df6e7d81676aa5d1204",
}
ONE_SHOT = "sha256:437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325"
PREPROCESS = Preprocess(28, 1, invert=True)  # black on white becomes ink = 255
"""28x28, with 90-degree rotations as classes of their own: Vinyals et al. 2016, and Snell et al. 2017, section 3.1."""


def write_omniglot(out: Path = Path("shards/omniglot"), data: str | None = None, download: bool = False) -> WrittenSet:
    """Write Omniglot, 28x28, ink = 1, with each character in four rotations, from the two official zip files.

    Splits: train, val, trainval, test (Vinyals et al. 2016), background, evaluation (the data set's own), and
    background_upright, without rotations. If all_runs.zip is there, Lake's one-shot task is written beside it, as OUT-one-shot.

    Args:
        out: Folder to write.
        data: Folder with images_background.zip, images_evaluation.zip, splits_vinyals/ and perhaps all_runs.zip; by default
            omniglot/ in the folder that LIGHTNING_META_DATA names.
        download: Fetch missing files from the official repository (18 MB) and verify their checksums.

    Returns:
        The written set, with a note about the one-shot task.
    """
    one_shot = out.with_name(f"{out.name}-one-shot")
    check_out(out)
    source = find_archives(data, download)
    runs = list[Run]()
    if (source / ARCHIVE).is_file():
        check_out(one_shot)
        runs = read_runs(source / ARCHIVE)
    index = write_shards(out, "omniglot", PREPROCESS, classes(source), extra_splits(source))
    if runs:
        note = write_one_shot(one_shot, source, runs)
    else:
        note = f"there is no {source / ARCHIVE}, so Lake's one-shot task was not written: --download true fetches it"
    return WrittenSet(out, index, (note,))


def write_one_shot(out: Path, folder: Path, runs: list[Run]) -> str:
    """Write Lake's one-shot task as a set of fixed episodes (`datamodules.FixedEpisodes`).

    Args:
        out: Folder to write.
        folder: The folder of the zip files.
        runs: The runs of the task.

    Returns:
        A line about what was written, with the command that tests on it.
    """
    drawings, episodes = one_shot_set(runs, upright_names(folder))
    items = (
        ClassImages(name, "test", np.stack([PREPROCESS.array(one) for one in several]), ARCHIVE, group=alphabet(name))
        for name, several in drawings.items()
    )
    config = fixed_task_yaml(out, len(episodes), episodes[0], PREPROCESS)
    texts = {FILE: episodes_text("test", episodes), "task.yaml": config}
    write_shards(out, "Omniglot, one-shot", PREPROCESS, items, texts=lambda: texts)
    return (
        f"{out}: Lake's one-shot task, {len(episodes)} runs; test on it with `lightning-meta test --config {out}/task.yaml"
        " --config protonet.yaml --ckpt_path CHECKPOINT`"
    )


def upright_names(folder: Path) -> dict[bytes, str]:
    """Return the name of the upright class of every drawing of `images_evaluation.zip`, by its `ink_digest`."""
    names = {}
    with _open(folder, "images_evaluation") as archive:
        for character, paths in track(_drawings(archive).items(), "names of characters"):
            names |= {ink_digest(_picture(archive, path)): _rotations(character)[0] for path in paths}
    return names


def find_archives(data: str | None, download: bool) -> Path:
    """Return the folder that holds the zip files and `splits_vinyals`.

    Args:
        data: The folder; by default `omniglot` in the folder that LIGHTNING_META_DATA names.
        download: Fetch missing files, the zip files from the official repository and the class lists from that of Snell et
            al., and verify their checksums. Only then is `all_runs.zip` missed.

    Raises:
        InputError: If a file is missing, cannot be fetched, or has another checksum.
    """
    folder = Path(data) if data else Path(os.environ.get("LIGHTNING_META_DATA", "data")) / "omniglot"
    wanted = {f"{name}.zip": (f"{OFFICIAL}/{name}.zip", checksum) for name, checksum in ARCHIVES.items()}
    wanted |= {f"splits_vinyals/{name}.txt": (f"{VINYALS}/{name}.txt", checksum) for name, checksum in LISTS.items()}
    missing = [name for name in wanted if not (folder / name).is_file()]
    if download and not (folder / ARCHIVE).is_file():
        wanted[ARCHIVE] = f"{OFFICIAL}/one-shot-classification/{ARCHIVE}", ONE_SHOT
        missing.append(ARCHIVE)
    if missing and not download:
        raise InputError(
            f"Omniglot is incomplete in {folder}: {', '.join(missing)} missing. Set LIGHTNING_META_DATA to the folder that"
            " holds omniglot/, or add --download true to fetch the official files (18 MB)"
        )
    for name in missing:
        download_file(*wanted[name], folder / name)
    return folder


def classes(folder: Path) -> Iterator[ClassImages]:
    """Read the classes one by one: each character in four rotations, in the Vinyals split.

    A class has a name such as `Greek/character01/rot090`.
    """
    split_of = _vinyals(folder)
    for name in ARCHIVES:
        with _open(folder, name) as archive:
            for character, paths in track(_drawings(archive).items(), name.replace("_", " ")):
                pictures = [_picture(archive, path) for path in paths]
                for angle, label in _rotations(character).items():
                    if label not in split_of:
                        raise InputError(f"{label} is in no list of {folder / 'splits_vinyals'}: fetch the lists again")
                    images = np.stack([PREPROCESS.array(picture.rotate(angle)) for picture in pictures])
                    yield ClassImages(label, split_of[label], images, f"{name}.zip", group=alphabet(character))


def alphabet(character: str) -> str:
    """Return the alphabet of a character such as `Greek/character01`."""
    return character.partition("/")[0]


def extra_splits(folder: Path) -> dict[str, set[str]]:
    """Return class names of further splits.

    They are the Vinyals split `trainval`, the data set's own `background` and `evaluation`, and `background_upright`, the
    first of these without rotations.
    """
    own = {"trainval": {label for label, split in _vinyals(folder).items() if split != "test"}}
    for name in ARCHIVES:
        with _open(folder, name) as archive:
            labels = {label for character in _drawings(archive) for label in _rotations(character).values()}
        own[name.removeprefix("images_")] = labels
    own["background_upright"] = {label for label in own["background"] if label.endswith("/rot000")}
    return own


def _vinyals(folder: Path) -> dict[str, str]:
    """Return the split of each class, from the lists `splits_vinyals/{train,val,test}.txt`."""
    lists = folder / "splits_vinyals"
    return {label: split for split in LISTS for label in (lists / f"{split}.txt").read_text().split()}


def _open(folder: Path, name: str) -> zipfile.ZipFile:
    path = folder / f"{name}.zip"
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is not a complete zip file ({error}): remove it and fetch it again") from error


def _picture(archive: zipfile.ZipFile, path: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(archive.read(path))).convert("L")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise InputError(f"{archive.filename} is damaged ({error}): remove it and fetch it again") from error


def _drawings(archive: zipfile.ZipFile) -> dict[str, list[str]]:
    """Return the images of the archive by character, such as `Greek/character01`."""
    drawings: dict[str, list[str]] = {}
    for path in sorted(archive.namelist()):
        if path.endswith(".png") and not any(map(is_clutter, path.split("/"))):
            drawings.setdefault("/".join(path.split("/")[1:3]), []).append(path)
    return drawings


def _rotations(character: str) -> dict[int, str]:
    """Return the class names of a character by angle, in degrees."""
    return {angle: f"{character}/rot{angle:03d}" for angle in (0, 90, 180, 270)}
