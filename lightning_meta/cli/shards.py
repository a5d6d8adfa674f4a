"""lightning-meta shards: write, verify and look at sharded image sets."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from PIL import Image
from rich.progress import track

from datamodules.reading.image_files import is_clutter
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sources import folder, glyphs, omniglot
from datamodules.writing.shards import ClassImages, check_out, write_shards
from lightning_meta.cli.features import features
from lightning_meta.cli.task_file import finish
from lightning_meta.config.parser_errors import Complaining
from lightning_meta.core import InputError
from lightning_meta.core.files import check_writable, whole


def write_glyphs(out: Path = Path("shards/glyphs"), classes: int = 1000, drawings: int = 20, seed: int = 0) -> None:
    """Write made-up handwriting: random programs of strokes, each drawn by many hands. Needs no data.

    Args:
        out: folder to write.
        classes: number of characters; 80 % meta-train, 5 % meta-validation, 15 % meta-test.
        drawings: drawings of each character.
        seed: names the set; another seed, other characters.
    """
    require(40, classes=classes)  # 5 % of them are two classes to tell apart
    require(2, drawings=drawings)
    require(0, seed=seed)
    check_out(out)

    def characters() -> Iterator[ClassImages]:
        for i in track(range(classes), "characters"):
            split = "train" if i < 0.8 * classes else "val" if i < 0.85 * classes else "test"
            yield ClassImages(
                f"glyph{seed}-{i:05d}", split, glyphs.draw_class(seed, i, drawings)[:, None], f"seed {seed}"
            )

    finish(out, write_shards(out, "glyphs", Preprocess(28, 1, invert=True), characters()))


def write_omniglot(out: Path = Path("shards/omniglot"), data: str | None = None, download: bool = False) -> None:
    """Write Omniglot, 28x28, ink = 1, each character in four rotations, from the two official zip files.

    Splits: train, val, trainval, test (Vinyals et al. 2016) and background, evaluation (the data set's own).

    Args:
        out: folder to write.
        data: folder with images_background.zip, images_evaluation.zip and splits_vinyals/; by default omniglot/ below
            the folder that LIGHTNING_META_DATA names.
        download: fetch what is missing from the official repository (18 MB) and check it.
    """
    check_out(out)
    source = omniglot.find(data, download)
    classes, extra_splits = omniglot.classes(source), omniglot.extra_splits(source)
    finish(out, write_shards(out, "omniglot", omniglot.PREPROCESS, classes, extra_splits))


def write_folder(
    images: Path,
    out: Path = Path("shards/images"),
    size: int = 84,
    channels: int = 3,
    invert: bool = False,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    seed: int = 0,
    encoded: bool = False,
    skip: bool = False,
    shared_classes: bool = False,
) -> None:
    """Write your own images: one sub-folder a class, JPEG, PNG or WebP of any size.

    Args:
        images: the folder; its classes are divided with a seed, unless it holds ready-made train/, val/ and test/.
        out: folder to write.
        size: side of the square that images are fitted to, in pixels.
        channels: 3 for RGB, 1 for grey.
        invert: store 255 - value, so that dark ink on white paper becomes 1 on 0.
        fractions: shares of the classes for train, val and test.
        seed: names the division.
        encoded: keep the files as they are and decode when read: smaller shards, slower episodes.
        skip: pass over images that cannot be read or do not decode, and count them.
        shared_classes: allow classes of one name, or of the same images, in two of train, val and test; reports then say
            how many of the classes tested on were trained on.
    """
    require(0, seed=seed)
    check_out(out)
    splits = folder.split_classes(images, fractions, seed, shared_classes)
    classes = folder.FolderClasses(splits, Preprocess(size, channels, invert), encoded, skip, shared_classes)
    if passed := folder.left_out(images, splits):
        print(f"in no class folder, and passed over: {some(passed)}")
    index = write_shards(out, images.resolve().name, classes.preprocess, classes)
    for message in classes.skipped[:10]:
        print(f"skipped: {message}")
    if classes.skipped:
        print(f"{len(classes.skipped)} images do not decode and were skipped")
    if copies := classes.same.report():
        print(copies)
    finish(out, index)


def verify(root: str) -> None:
    """Read a whole shard set, local or remote, and compare it with its index by checksum."""
    shards = ShardSet(root, on_error="skip")
    found = shards.verify()
    if found:
        raise InputError("\n".join(found))
    print(f"{root}: {len(shards.index.shards)} shards, {len(shards.index.records)} classes, all as the index says")


def sheet(root: str, out: Path = Path("sheet.png"), split: str = "test", classes: int = 20, images: int = 12) -> None:
    """Draw a picture of a shard set: some classes, a row each.

    Args:
        root: folder or URL of the shards.
        out: PNG file to write.
        split: which split.
        classes: rows.
        images: columns.
    """
    require(1, classes=classes, images=images)
    check_writable(out)
    shards = open_images(root)
    rows = []
    for record in shards.index.split(split)[:classes]:
        row = shards.images(record, np.arange(min(images, shards.count(record))))
        blank = np.zeros((images - len(row), *row.shape[1:]), np.uint8)
        rows.append(np.concatenate([row, blank]).transpose(1, 2, 0, 3).reshape(row.shape[1], row.shape[2], -1))
    picture = np.concatenate(rows, axis=1).transpose(1, 2, 0)
    if shards.index.preprocess.invert:
        picture = 255 - picture
    with whole(out) as aside:
        Image.fromarray(picture.squeeze()).resize((picture.shape[1] * 2, picture.shape[0] * 2)).save(aside, "PNG")
    print(out)


def export(
    root: str,
    out: Path = Path("export"),
    split: str = "test",
    classes: int = 5,
    support: int = 1,
    query: int = 5,
    seed: int = 0,
) -> None:
    """Write images of some classes as PNG files, to try `adapt` on: OUT/support/CLASS/*.png and OUT/query/*.png.

    Args:
        root: folder or URL of the shards.
        out: folder to write.
        split: which split to draw from.
        classes: how many classes.
        support: labelled examples of each class.
        query: images to classify, of each class; their names tell the true class.
        seed: names the draw.
    """
    require(1, classes=classes, support=support, query=query)
    require(0, seed=seed)
    check_out(out)
    shards, rng = open_images(root), np.random.default_rng(seed)
    records = shards.index.split(split)
    fewest = min(map(shards.count, records), default=0)
    if classes > len(records) or support + query > fewest:
        raise InputError(
            f"{classes} classes of {support} + {query} images were asked of split {split!r} of {root}, which has {len(records)}"
            f" classes of {fewest} images or more: ask for as many or fewer"
        )
    drawn = rng.choice(records, classes, replace=False).tolist()
    with whole(out) as aside:
        for record, name in zip(drawn, file_names([shards.index.records[i].name for i in drawn]), strict=True):
            pictures = shards.images(record, rng.permutation(shards.count(record))[: support + query])
            pictures = pictures.astype(np.uint8, copy=False)
            for i, picture in enumerate(255 - pictures if shards.index.preprocess.invert else pictures):
                path = aside / "support" / name / f"{i}.png" if i < support else aside / "query" / f"{name}-{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.transpose(1, 2, 0).squeeze()).save(path)
    print(f"{out}/support, {out}/query")


def some(names: list[str]) -> str:
    """The first few of them, and how many there are more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def file_names(names: list[str]) -> list[str]:
    """The names of classes as those of files: different, in one folder, not hidden, and of a length that a disk takes."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[/\\\0]", "_", name).encode("utf-8", "surrogateescape")[:150]
        text = os.fsdecode(plain)
        text = f"_{text}" if not text or is_clutter(text) else text
        found.append(text if text not in found else f"{text}_{len(found)}")
    return found


def open_images(root: str) -> ShardSet:
    shards = ShardSet(root)
    if shards.index.features:
        raise InputError(f"{root} holds features, not pictures to look at: give the shard set that they were made of")
    return shards


def require(least: int, **values: int) -> None:
    """InputError where one of the options is less than `least`."""
    for name, value in values.items():
        if value < least:
            raise InputError(f"--{name} is {value}: give {least} or more")


def run(argv: list[str]) -> None:
    commands = {
        "write": {"glyphs": write_glyphs, "omniglot": write_omniglot, "folder": write_folder},
        "features": features,
        "verify": verify,
        "sheet": sheet,
        "export": export,
    }
    auto_cli(commands, args=argv, prog="lightning-meta shards", parser_class=Complaining)
