"""Omniglot: Brenden Lake et al. Human-level concept learning through probabilistic program induction. Science 2015.

1,623 characters of 50 alphabets, each drawn by 20 people. Read from the two official zip files.
"""

import hashlib
import io
import os
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from datamodules.reading.image_files import is_clutter
from datamodules.reading.preprocess import Preprocess
from datamodules.writing.shards import ClassImages
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
PREPROCESS = Preprocess(28, 1, invert=True)  # black on white becomes ink = 255
"""Vinyals et al. 2016 publish 28x28 with 90-degree rotations as classes of their own; so Snell et al. 2017, section 3.1."""


def find(data: str | None, download: bool) -> Path:
    """The folder that holds the zips and `splits_vinyals`: `data`, or `omniglot` below LIGHTNING_META_DATA.

    With `download`, what is missing is fetched, the zips from the official repository and the class lists from that of
    Snell et al., and checked by checksum. InputError where something is missing, or came with another checksum.
    """
    folder = Path(data) if data else Path(os.environ.get("LIGHTNING_META_DATA", "data")) / "omniglot"
    wanted = {f"{name}.zip": (f"{OFFICIAL}/{name}.zip", checksum) for name, checksum in ARCHIVES.items()}
    wanted |= {f"splits_vinyals/{name}.txt": (f"{VINYALS}/{name}.txt", checksum) for name, checksum in LISTS.items()}
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing and not download:
        raise InputError(
            f"Omniglot is not whole in {folder}: {', '.join(missing)} missing. Set LIGHTNING_META_DATA to the folder that"
            " holds omniglot/, or add --download true to fetch the official files (18 MB)"
        )
    for name in missing:
        _download(*wanted[name], folder / name)
    return folder


def _download(url: str, checksum: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            data = response.read()
    except (OSError, HTTPException) as error:
        raise InputError(f"cannot download {url}: {error}. Fetch it by other means as {path}") from error
    kind, expected = checksum.split(":")
    if (digest := hashlib.new(kind, data).hexdigest()) != expected:
        raise InputError(f"{url} came with {kind} {digest}, expected {expected}: not kept. Try again later")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    aside.write_bytes(data)
    aside.rename(path)


def classes(folder: Path) -> Iterator[ClassImages]:
    """Each character in each of four rotations, a class, in the Vinyals split: names like `Greek/character01/rot090`."""
    split_of = _vinyals(folder)
    for name in ARCHIVES:
        with _open(folder, name) as archive:
            for character, paths in track(_drawings(archive).items(), name.replace("_", " ")):
                pictures = [_picture(archive, path) for path in paths]
                for angle, label in _rotations(character).items():
                    if label not in split_of:
                        raise InputError(f"{label} is in no list of {folder / 'splits_vinyals'}: fetch the lists again")
                    images = np.stack([PREPROCESS.array(picture.rotate(angle)) for picture in pictures])
                    yield ClassImages(label, split_of[label], images, f"{name}.zip")


def extra_splits(folder: Path) -> dict[str, set[str]]:
    """`trainval` of the Vinyals split, and the data set's own background and evaluation alphabets, as class names."""
    own = {"trainval": {label for label, split in _vinyals(folder).items() if split != "test"}}
    for name in ARCHIVES:
        with _open(folder, name) as archive:
            labels = {label for character in _drawings(archive) for label in _rotations(character).values()}
        own[name.removeprefix("images_")] = labels
    return own


def _vinyals(folder: Path) -> dict[str, str]:
    """Split of each class, from the lists `splits_vinyals/{train,val,test}.txt`."""
    lists = folder / "splits_vinyals"
    return {label: split for split in LISTS for label in (lists / f"{split}.txt").read_text().split()}


def _open(folder: Path, name: str) -> zipfile.ZipFile:
    path = folder / f"{name}.zip"
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is no whole zip file ({error}): remove it and fetch it again") from error


def _picture(archive: zipfile.ZipFile, path: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(archive.read(path))).convert("L")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise InputError(f"{archive.filename} is damaged ({error}): remove it and fetch it again") from error


def _drawings(archive: zipfile.ZipFile) -> dict[str, list[str]]:
    """Members of the archive by character, such as `Greek/character01`."""
    found: dict[str, list[str]] = {}
    for path in sorted(archive.namelist()):
        if path.endswith(".png") and not any(map(is_clutter, path.split("/"))):
            found.setdefault("/".join(path.split("/")[1:3]), []).append(path)
    return found


def _rotations(character: str) -> dict[int, str]:
    """Class names of a character by angle, in degrees."""
    return {angle: f"{character}/rot{angle:03d}" for angle in (0, 90, 180, 270)}
