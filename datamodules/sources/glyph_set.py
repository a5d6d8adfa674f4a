"""A shard set of generated handwriting."""

from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

from datamodules.reading.preprocess import Preprocess
from datamodules.sources.glyphs import draw_class
from datamodules.writing.shards import ClassImages, check_out, write_shards
from datamodules.writing.written_set import WrittenSet
from lightning_meta.core.errors import check_at_least


def write_glyphs(
    out: Path = Path("shards/glyphs"), classes: int = 1000, drawings: int = 20, seed: int = 0
) -> WrittenSet:
    """Write generated handwriting: random programs of pen strokes, each drawn by many hands. It needs no data.

    Args:
        out: Folder to write.
        classes: Number of characters, 40 or more: 80 % are meta-train, 5 % meta-validation, 15 % meta-test.
        drawings: Number of drawings per character, 2 or more.
        seed: Seed of the set; another seed gives other characters.

    Returns:
        The written set.
    """
    check_at_least(40, classes=classes)  # 5 % of them are two classes to tell apart
    check_at_least(2, drawings=drawings)
    check_at_least(0, seed=seed)
    check_out(out)
    index = write_shards(out, "glyphs", Preprocess(28, 1, invert=True), glyph_classes(classes, drawings, seed))
    return WrittenSet(out, index)


def glyph_classes(classes: int, drawings: int, seed: int) -> Iterator[ClassImages]:
    """Draw the characters of a set one by one, the first 80 % for train, 5 % for val, and the others for test."""
    for i in track(range(classes), "characters"):
        split = "train" if i < 0.8 * classes else "val" if i < 0.85 * classes else "test"
        yield ClassImages(f"glyph{seed}-{i:05d}", split, draw_class(seed, i, drawings)[:, None], f"seed {seed}")
