"""A shard set of generated handwriting."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.reading.preprocess import Preprocess
from datamodules.sources.glyphs import draw_class
from datamodules.writing.chunks import chunked, in_chunks, keep_chunks
from datamodules.writing.shards import ClassImages, check_out, write_shards
from datamodules.writing.written_set import WrittenSet
from lightning_meta.core.errors import check_at_least

CHUNK = 32  # characters that a process draws at a time


def write_glyphs(
    out: Path = Path("shards/glyphs"),
    classes: int = 1000,
    drawings: int = 20,
    seed: int = 0,
    processes: int | None = None,
) -> WrittenSet:
    """Write generated handwriting: random programs of pen strokes, each drawn by many hands. It needs no data.

    What is drawn is kept in OUT.chunks.partial until the set is whole: after a kill the same command continues.

    Args:
        out: Folder to write.
        classes: Number of characters, 40 or more: 80 % are meta-train, 5 % meta-validation, 15 % meta-test.
        drawings: Number of drawings per character, 2 or more.
        seed: Seed of the set; another seed gives other characters.
        processes: Processes that draw; by default one for each core. The set is the same for any number.

    Returns:
        The written set.
    """
    check_at_least(40, classes=classes)  # 5 % of them are two classes to tell apart
    check_at_least(2, drawings=drawings)
    check_at_least(0, seed=seed)
    check_at_least(1, processes=1 if processes is None else processes)
    check_out(out)
    with keep_chunks(out, set="glyphs", classes=classes, drawings=drawings, seed=seed) as folder:
        images = glyph_classes(classes, drawings, seed, folder, processes)
        index = write_shards(out, "glyphs", Preprocess(28, 1, invert=True), images)
    return WrittenSet(out, index)


def glyph_classes(classes: int, drawings: int, seed: int, folder: Path, processes: int | None) -> Iterator[ClassImages]:
    """Draw the characters of a set, the first 80 % for train, 5 % for val, and the others for test.

    Args:
        classes: Number of characters.
        drawings: Number of drawings per character.
        seed: Seed of the set.
        folder: Where drawings are kept.
        processes: Processes that draw; by default one for each core.
    """
    chunks = chunked(range(classes), CHUNK)
    draw = partial(draw_several, seed=seed, drawings=drawings)
    for numbers, drawn in zip(chunks, in_chunks(draw, chunks, [""] * len(chunks), folder, processes), strict=True):
        for i, images in zip(numbers, drawn["images"], strict=True):
            split = "train" if i < 0.8 * classes else "val" if i < 0.85 * classes else "test"
            yield ClassImages(f"glyph{seed}-{i:05d}", split, images[:, None], f"seed {seed}")


def draw_several(numbers: list[int], seed: int, drawings: int) -> dict[str, NDArray[np.uint8]]:
    """Draw some characters: `images`, uint8 [characters, drawings, 28, 28]."""
    return {"images": np.stack([draw_class(seed, i, drawings) for i in numbers])}
